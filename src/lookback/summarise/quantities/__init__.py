"""The quantities of the memory card: one module per quantity; `registry` lists them all."""
