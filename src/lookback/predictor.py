"""Loads a trained network as an MLflow model that predicts from NumPy arrays.

MLflow calls `_load_pyfunc` with a folder that contains config.yaml and task.json of the cell and
weights.ckpt of one seed. Loading an MLflow model requires an installed lookback.
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
    """Scales raw inputs as in training and predicts at the last step of each sequence."""

    def __init__(self, network: Network, facts: Facts):
        self.network = network
        self.facts = facts

    def predict(
        self,
        inputs: Float[np.ndarray, "batch time feature"] | Int[np.ndarray, "batch time"],
        params: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "batch output"]:
        """Class probabilities of a classification task, or predicted values of a regression task.

        `inputs` are raw values as in the dataset, such as pixels from 0 to 255 and not from 0 to 1.
        All sequences of a call have the same length. MLflow's interface requires `params`, which
        has no effect.
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
    if "encoder" in config["model"]:  # lookback 0.1 did not store this setting of an encoder
        config["model"]["encoder"].setdefault("bidirectional", False)
    network = build_network(config["model"], config["recipe"]["initialisation"], facts, seed=0)
    network.load_state_dict(torch.load(folder / "weights.ckpt", weights_only=True))
    return Predictor(network.eval(), facts)
