"""Tables over cells."""
