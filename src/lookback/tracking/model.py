"""Saves the trained network of one seed as an MLflow model (pyfunc flavour).

`mlflow.pyfunc.load_model` loads the saved folder through the module `lookback.predictor`.
`track` imports this module after it has disabled MLflow's telemetry.
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
from lookback.tracking.records import Record

# Without an explicit list, MLflow loads each model in a subprocess to infer its requirements.
REQUIREMENTS = ("mlflow", "torch", "numpy", "hydra-core", "jaxtyping", "pyyaml")


def save_model(folder: Path, record: Record, run_id: str) -> Model:
    """Write the seed of `record` to `folder` as an MLflow model of the MLflow run `run_id`.

    The folder holds config.yaml, task.json, weights.ckpt, the signature (shapes and dtypes), an
    input example of zeros, and the package requirements with versions. Returns MLflow's metadata.
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
