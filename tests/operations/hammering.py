"""What a process of its own runs in test_limits_storage."""

from codyverse.operations.limits.storage import HostStorage


def hammer(uri: str, limit: int, spare: int) -> int:
    """Ask for more than the limit and return how often the answer was yes."""
    host = HostStorage(uri)
    return sum(host.acquire_sliding_window_entry("k", limit, 3600) for _ in range(limit + spare))
