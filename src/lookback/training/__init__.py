"""Training under equal conditions: recipe, journal, resume and the store of finished seeds."""
