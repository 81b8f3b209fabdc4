"""A trained seed as MLflow keeps it: the folder that `mlflow.pyfunc.load_model` reads.

`predictor` is what answers there. Imported by `tracking` alone, as `tracking_store` is.
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

# Named here, since MLflow would else load every model in a process of its own to find them out.
REQUIREMENTS = ("mlflow", "torch", "numpy", "hydra-core", "jaxtyping", "pyyaml")


def save_model(folder: Path, record: Record, run_id: str) -> Model:
    """Make the folder that `mlflow.pyfunc.load_model` reads: lookback.predictor and its files."""
    facts = read_json(record.model["task.json"])
    dtype = np.dtype(np.int64 if facts["tokens"] else np.float32)
    width = () if facts["tokens"] else (facts["features"],)
    answers = TensorSpec(np.dtype(np.float32), (-1, facts["outputs"]))
    made = datetime.fromtimestamp((record.end or 0) / 1000, UTC)
    model = Model("model", run_id, made.replace(tzinfo=None), model_uuid=run_id)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "network"
        data.mkdir()
        for file, path in record.model.items():
            shutil.copyfile(path, data / file)
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module="lookback.predictor",
            data_path=str(data),
            mlflow_model=model,
            signature=ModelSignature(
                Schema([TensorSpec(dtype, (-1, -1, *width))]), Schema([answers])
            ),
            input_example=np.zeros((1, facts["length"], *width), dtype),
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS
            ],
        )
    return model
