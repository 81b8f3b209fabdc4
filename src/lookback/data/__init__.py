"""Tasks: sequences, each with queries, targets and, if known, the steps that decide an answer."""
