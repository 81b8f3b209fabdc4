"""Training and tuning of networks under equal conditions."""
