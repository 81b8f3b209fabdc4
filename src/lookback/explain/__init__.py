"""Attributions of one answer to the steps before it, and scores of whether they can be believed."""
