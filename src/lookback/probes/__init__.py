"""Probes: long-range measurements on trained runs, one file per probe."""
