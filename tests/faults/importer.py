"""A process that reads paths of folders and imports the catalogue in each through the service; says when it is done."""

from __future__ import annotations

import sys
from pathlib import Path

from codyverse import create_app
from codyverse.learning import content
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components


def main() -> None:
    app = create_app()
    with app.app_context():
        for line in sys.stdin:
            import_catalogue(app.extensions["codyverse.database"], content.read(Path(line.strip())))
            print("done", flush=True)
    components.of(app).close()


if __name__ == "__main__":
    main()
