"""Locks of GPUs, CPU time, and objects built from configs. The package imports no torch."""
