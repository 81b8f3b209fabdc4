"""A trained network as MLflow loads it: arrays in, answers out.

MLflow finds `_load_pyfunc` by its name. The folder it is given holds config.yaml and task.json of
the cell, and weights.ckpt of one seed; this package must be installed where a model is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, Int

from lookback.data.task import Facts
from lookback.models.network import Network, build_network
from lookback.storage.atomic import read_json


class Predictor:
    """Answers at the last step of whole sequences, given as they come: it scales them itself."""

    def __init__(self, network: Network, facts: Facts):
        self.network = network
        self.facts = facts

    def predict(
        self,
        inputs: Float[np.ndarray, "batch time feature"] | Int[np.ndarray, "batch time"],
        params: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "batch output"]:
        """Probabilities of the classes, or values. `params` is MLflow's, and empty.

        `inputs` are raw, as the dataset has them: pixels from 0 to 255, not from 0 to 1.
        """
        sequences = torch.as_tensor(inputs)
        if self.facts.scale:
            mean, scale = torch.tensor(self.facts.mean), torch.tensor(self.facts.scale)
            sequences = (sequences - mean) / scale
        lengths = torch.full((len(sequences),), sequences.shape[1])
        with torch.no_grad():
            answers = self.network(sequences, lengths, lengths.unsqueeze(1) - 1)[:, 0]
        found: np.ndarray = (answers.softmax(-1) if self.facts.kind == "class" else answers).numpy()
        return found


def _load_pyfunc(path: str) -> Predictor:
    folder = Path(path)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    facts = Facts.from_dict(read_json(folder / "task.json"))
    network = build_network(config["model"], config["recipe"]["initialisation"], facts, seed=0)
    network.load_state_dict(torch.load(folder / "weights.ckpt", weights_only=True))
    return Predictor(network.eval(), facts)
