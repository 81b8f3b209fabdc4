"""Long-range measurements on trained runs, one file each."""
