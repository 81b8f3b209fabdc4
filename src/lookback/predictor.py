"""Load a trained network as an MLflow model, which predicts from NumPy arrays.

MLflow calls the function `_load_pyfunc` with the path of a folder. The folder contains the weights
of one trained network in weights.ckpt, the settings of the model in config.yaml, and the
description of the task in task.json. MLflow can load the model only where the package lookback is
installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, Int

from lookback.data.scaling import Scaling
from lookback.data.task import Facts
from lookback.models.network import Network, build_network
from lookback.storage.atomic import read_json


class Predictor:
    """A trained network that accepts raw inputs and predicts at the last step of each sequence."""

    def __init__(self, network: Network, facts: Facts):
        self.network = network
        self.facts = facts

    def predict(
        self,
        inputs: Float[np.ndarray, "batch time feature"] | Int[np.ndarray, "batch time"],
        params: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "batch output"]:
        """The predicted class probabilities (classification) or the predicted values (regression).

        `inputs` are raw values as in the dataset, such as pixels from 0 to 255 and not from 0 to 1.
        The function scales `inputs` as in training. All sequences in `inputs` must have the same
        length. The argument `params` has no effect, but MLflow's interface requires it.
        """
        sequences = torch.as_tensor(inputs)
        if self.facts.scale:
            sequences = Scaling(self.facts.mean, self.facts.scale).apply(sequences)
        lengths = torch.full((len(sequences),), sequences.shape[1])
        with torch.no_grad():
            answers = self.network(sequences, lengths, lengths.unsqueeze(1) - 1)[:, 0]
        outputs = answers.softmax(-1) if self.facts.kind == "class" else answers
        predictions: np.ndarray = outputs.numpy()
        return predictions


def _load_pyfunc(path: str) -> Predictor:
    folder = Path(path)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    facts = Facts.from_dict(read_json(folder / "task.json"))
    if "encoder" in config["model"]:  # models of lookback 0.1 lack the setting `bidirectional`
        config["model"]["encoder"].setdefault("bidirectional", False)
    network = build_network(config["model"], config["recipe"]["initialisation"], facts, seed=0)
    network.load_state_dict(torch.load(folder / "weights.ckpt", weights_only=True))
    return Predictor(network.eval(), facts)
