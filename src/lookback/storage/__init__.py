"""Everything about the folder results/: paths, writing, provenance, finished seeds, locks."""
