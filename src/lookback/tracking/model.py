"""Save the trained network of one seed as an MLflow model (pyfunc flavour).

`mlflow.pyfunc.load_model` loads the saved folder through the module `lookback.predictor`.
The package lookback.tracking disables MLflow's telemetry before this module imports MLflow.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import mlflow.pyfunc
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from lookback.storage.atomic import read_json
from lookback.tracking.read_results import Record

# Without a list of packages, MLflow would load each model in a subprocess to find the packages.
REQUIREMENTS = ("mlflow", "torch", "numpy", "hydra-core", "jaxtyping", "pyyaml")


def save_model(folder: Path, record: Record, run_id: str) -> Model:
    """Save the network of one seed to `folder` as an MLflow model of the MLflow run `run_id`.

    The folder holds config.yaml, task.json, weights.ckpt, the shapes and dtypes of input and
    output, an input example of zeros, and the required packages with versions. Returns MLflow's
    description of the model.
    """
    facts = read_json(record.model["task.json"])
    dtype = np.dtype(np.int64 if facts["tokens"] else np.float32)
    width = () if facts["tokens"] else (facts["features"],)
    outputs = TensorSpec(np.dtype(np.float32), (-1, facts["outputs"]))
    created = datetime.fromtimestamp((record.end or 0) / 1000, UTC)
    model = Model("model", run_id, created.replace(tzinfo=None), model_uuid=run_id)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "network"
        data.mkdir()
        for file, path in record.model.items():
            shutil.copyfile(path, data / file)
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module="lookback.predictor",
            data_path=str(data),
            mlflow_model=model,
            signature=ModelSignature(
                Schema([TensorSpec(dtype, (-1, -1, *width))]), Schema([outputs])
            ),
            input_example=np.zeros((1, facts["length"], *width), dtype),
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS
            ],
        )
    return model
