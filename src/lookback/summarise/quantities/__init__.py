"""Each module computes a quantity of the memory card, and `registry` lists all quantities."""
