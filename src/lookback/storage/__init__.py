"""The folder results/: paths, atomic writes, provenance, the store of finished seeds, locks."""
