"""The catalogue, and what learners do with it."""
