"""The commands of `lookback`, and the tasks of Snakemake's main process."""
