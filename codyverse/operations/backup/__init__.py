"""Backups: made while the service runs, verified, and restored whole or not at all.

An archive holds the database, consistent as of one moment, and the files of learners. It does not hold the secret key, the
settings, nor what can be made anew: caches, counters, the history of figures.
"""

from __future__ import annotations

from codyverse.operations.backup.shelf import newest

__all__ = ["newest"]
