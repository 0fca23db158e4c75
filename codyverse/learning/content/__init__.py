"""The catalogue's files: reading them, and finding every fault with its line.

The format is docs/authors/lessons.md. Nothing in here touches the database; `read` gives what learning/service/catalogue.py
imports.
"""

from __future__ import annotations

from codyverse.learning.content.faults import Fault as Fault
from codyverse.learning.content.folder import Faulty as Faulty
from codyverse.learning.content.folder import lint as lint
from codyverse.learning.content.folder import read as read
from codyverse.learning.content.model import Catalogue as Catalogue
from codyverse.learning.content.model import Course as Course
from codyverse.learning.content.model import Image as Image
from codyverse.learning.content.model import Lesson as Lesson
from codyverse.learning.content.model import Question as Question
