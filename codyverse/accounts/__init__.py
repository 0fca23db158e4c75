"""Who learns: accounts, sessions and API tokens."""
