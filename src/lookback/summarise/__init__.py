"""Summarise the results of all models on all tasks in tables."""
