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
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

from lookback.storage.atomic import read_json
from lookback.tracking.read_results import Record

# Without a list of packages, MLflow would load each model in a subprocess to find the packages.
REQUIREMENTS = ("mlflow", "torch", "numpy", "hydra-core", "jaxtyping", "pyyaml")


def save_model(folder: Path, record: Record, run_id: str) -> Model:
    """Save the network of one seed to `folder` as an MLflow model of the MLflow run `run_id`.

    The folder holds config.yaml, task.json, weights.ckpt, the shape of the output, the params
    `lengths` and `queries`, an input example of zeros, and the required packages with versions. It
    holds no schema of the inputs, because MLflow would refuse other numeric types; the class
    `Predictor` checks the inputs. Returns MLflow's description of the model.
    """
    facts = read_json(record.model["task.json"])
    dtype = np.dtype(np.int64 if facts["tokens"] else np.float32)
    width = () if facts["tokens"] else (facts["features"],)
    # `asked` is missing in a task.json of lookback 0.1, and null if no offsets are known.
    asked = facts.get("asked", [-1])
    queries = () if asked and len(asked) == 1 else (-1,)
    signature = ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *queries, facts["outputs"]))]),
        params=ParamSchema([ParamSpec(name, "long", [], (-1,)) for name in ("lengths", "queries")]),
    )
    length = facts["length"]
    example_params = {
        "lengths": [length],
        "queries": [length + offset for offset in asked or [-1]],
    }
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
            signature=signature,
            input_example=(np.zeros((1, length, *width), dtype), example_params),
            pip_requirements=[
                f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS
            ],
        )
    return model
