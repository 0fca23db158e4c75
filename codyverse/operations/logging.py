"""Log lines of the application on standard error, at the level that the settings choose."""

from __future__ import annotations

import logging

from flask import Flask

from codyverse.operations import request_ids


class OfRequest(logging.Filter):
    """Writes beside a line the id of the request during which it was logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        record.request_id = request_ids.current() or "-"
        return True


def init_app(app: Flask) -> None:
    """Set the level of everything below the logger `codyverse`, which Flask's own logger is here too."""
    logger = logging.getLogger("codyverse")
    logger.setLevel(app.config["CODYVERSE"].log_level)
    logging.getLogger("codyverse.pool").setLevel(logging.WARNING)  # SQLAlchemy tells of every loan there
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.addFilter(OfRequest())
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(request_id)s %(message)s"))
        logger.addHandler(handler)
