"""The tiered cache (report row R12)."""
