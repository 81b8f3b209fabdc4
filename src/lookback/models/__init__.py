"""Sequence models: one file per architecture, with the symbols of its paper."""
