"""The quantities of the memory card, one per module, which `registry` lists."""
