"""The numbers on the memory card: one module per probe, and `table`, which lists all numbers."""
