"""Kernels for the forward and backward passes of recurrent layers on a CPU, compiled by numba."""
