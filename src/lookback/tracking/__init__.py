"""Tracking: sends the results of a study to MLflow. No other package imports MLflow."""

import os

# MLflow reads these variables when it is imported, and `lookback ui` hands them to its server.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
