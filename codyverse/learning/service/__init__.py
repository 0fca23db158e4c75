"""The use cases of learning: the only place that opens its transactions."""
