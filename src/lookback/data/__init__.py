"""Tasks: each makes sequences with a question, a target and, where known, the evidence."""
