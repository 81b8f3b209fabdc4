"""Devices, CPU time, and objects from their configs. Imports no torch."""
