"""One production concern a file."""
