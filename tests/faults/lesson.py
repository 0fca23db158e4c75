"""A lesson that is edited while it is read, with a note of who saw which edition when."""

from __future__ import annotations

import itertools
import re
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import requests
import sqlalchemy as sa

from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.models import lessons
from codyverse.learning.service.catalogue import import_catalogue
from tests.faults.host import Host
from tests.server import wait_until

READERS = 16
PAUSE_S = 0.03  # of a reader; writers are to have their turn as well
NUMBER = re.compile(r"Edition (\d+)\.")
CONTENT = Path(__file__).parent.parent / "content"


class Seen(NamedTuple):
    """What a reader saw; `began` is monotonic."""

    began: float
    number: int
    host: Host


class Edit(NamedTuple):
    """An edit, and when its writer was done."""

    done: float
    number: int
    host: Host


@dataclass
class Lesson:
    """The lesson, the folder that it is imported from, and what was done with it."""

    folder: Path
    path: str = ""
    edits: list[Edit] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def write(self, number: int) -> None:
        """Write the text that holds the number, into the file."""
        original = (CONTENT / "counting/one-two-three.md").read_text("utf-8")
        changed = original.replace("Say one, two, three.", f"Edition {number}. Say one, two, three.")
        assert changed != original
        (self.folder / "counting/one-two-three.md").write_text(changed, "utf-8")

    def edit(self, host: Host, from_the_shell: bool) -> None:
        """Bring the next number to the readers."""
        number = len(self.edits) + 1
        self.write(number)
        if from_the_shell:
            host.flask("content", "import", str(self.folder))
        else:
            host.import_by_service(self.folder)
        self.edits.append(Edit(time.monotonic(), number, host))

    def read(self, host: Host, ended: threading.Event, way: int) -> None:
        """Read it again and again, as the API's or as a page, with the tag of what was read before or without."""
        address = host.url + ("/api/v1" if way % 2 else "") + self.path
        number, tag = 0, ""
        while not ended.is_set():
            with requests.Session() as session:  # a new connection now and then, which another worker may answer
                session.trust_env = False
                for _ in range(10):
                    began = time.monotonic()
                    response = session.get(address, headers={"If-None-Match": tag} if tag and way % 4 < 2 else {}, timeout=30)
                    assert response.status_code in (200, 304), response.text
                    if response.status_code == 200:
                        number, tag = int(NUMBER.search(response.text)[1]), response.headers["ETag"]
                    self.seen.append(Seen(began, number, host))
                    if ended.wait(PAUSE_S):
                        return

    @contextmanager
    def being_read(self, *hosts: Host) -> Iterator[None]:
        """Have READERS read it, as many on each host."""
        ended = threading.Event()

        def run(host: Host, way: int) -> None:
            try:
                self.read(host, ended, way)
            except BaseException as error:
                self.failures.append(error)

        threads = [threading.Thread(target=run, args=(hosts[n % len(hosts)], n // len(hosts))) for n in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join(40)
        assert not self.failures, self.failures

    def wait_until_read(self) -> None:
        """Wait until every reader has read it a few times."""
        wait_until(lambda: len(self.seen) > 10 * READERS or bool(self.failures))
        assert not self.failures, self.failures

    def wait_until_seen(self, host: Host) -> None:
        """Wait until readers of the host see the last edit, so that it is kept and may become outdated."""
        number = self.edits[-1].number
        wait_until(lambda: bool(self.failures) or any(seen.number >= number for seen in self.seen[-200:] if seen.host is host))
        assert not self.failures, self.failures

    def outdated(self, host: Host, edits: list[Edit], by: dict[int, float]) -> list[tuple[Seen, Edit]]:
        """Return what readers of the host saw that was older than an edit, though they began after the time in `by` of it."""
        due = sorted(((by[edit.number], edit) for edit in edits), key=lambda one: one[0])
        newest = list(itertools.accumulate((edit for _, edit in due), lambda a, b: max(a, b, key=lambda edit: edit.number)))
        times = [at for at, _ in due]
        found = []
        for seen in self.seen:
            before = bisect_left(times, seen.began)
            if seen.host is host and before and seen.number < newest[before - 1].number:
                found.append((seen, newest[before - 1]))
        return found


def import_first(database: Database, folder: Path) -> Lesson:
    shutil.copytree(CONTENT, folder)
    lesson = Lesson(folder)
    lesson.write(0)
    import_catalogue(database, content.read(folder))
    with database.read() as reader:
        lesson_id = reader.execute(sa.select(lessons.c.id).where(lessons.c.slug == "one-two-three")).scalar_one()
    lesson.path = f"/lessons/{lesson_id}"
    return lesson
