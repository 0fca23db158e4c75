"""The version of this code, as CHANGELOG.md tells it."""

VERSION = "0.1.0"
