"""Lock GPUs, count CPU time, and make objects from configs. The package does not import torch."""
