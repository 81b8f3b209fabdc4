"""The commands of `lookback`, and the duties of Snakemake's main process."""
