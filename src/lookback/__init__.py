"""Measure how far back a sequence model remembers, and whether its explanations can be believed."""
