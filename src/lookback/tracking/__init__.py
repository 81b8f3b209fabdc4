"""Send the results of a study to MLflow. No other package of lookback imports MLflow."""

import os

# MLflow reads its environment variables at import, so set them before any import of MLflow.
# The MLflow server that `lookback ui` starts inherits the environment variables set here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
