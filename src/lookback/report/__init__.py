"""One self-contained HTML page a study."""
