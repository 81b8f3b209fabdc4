"""What the command line and Snakemake's main process do."""
