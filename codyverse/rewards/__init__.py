"""What learners earn: XP, coins, levels, and the ledger that proves them."""
