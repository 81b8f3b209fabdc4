"""Fused training kernels of recurrent layers for a CPU, compiled by numba."""
