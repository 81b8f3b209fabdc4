"""Fused CPU kernels for training recurrent layers, compiled by numba."""
