"""Log lines of the application on standard error, at the level that the settings choose."""

from __future__ import annotations

import logging

from flask import Flask


def init_app(app: Flask) -> None:
    """Set the level of everything below the logger `codyverse`, which Flask's own logger is here too."""
    logger = logging.getLogger("codyverse")
    logger.setLevel(app.config["CODYVERSE"].log_level)
    logging.getLogger("codyverse.pool").setLevel(logging.WARNING)  # SQLAlchemy tells of every loan there
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
