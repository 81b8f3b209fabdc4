"""Training of neural networks, and tuning of their hyperparameters, under equal conditions."""
