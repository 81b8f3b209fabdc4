"""Explainers: attributions of one answer to the steps before it, and scores of attributions."""
