"""Name, write, read and lock the files in the folder results/."""
