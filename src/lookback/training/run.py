"""Loads trained networks for probes and explainers, from the result files of a cell."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from lookback.data.task import Facts, Task
from lookback.models.network import Network, build_network
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import read_json
from lookback.storage.paths import CellPaths


@dataclass(frozen=True)
class Run:
    """One trained seed of a cell: the network, the settings and the facts of the task."""

    seed: int
    plans: Mapping[str, str]  # stage → digest of the plan that made the files of that stage
    config: Mapping[str, Any]  # task, model, recipe and trainer, as they were trained
    facts: Facts
    model: Network  # the trained network, in eval mode

    def initial(self) -> Network:
        """The network with its initial weights, as before training, in eval mode."""
        network = build_network(
            self.config["model"],
            self.config["recipe"]["initialisation"],
            self.facts,
            seed=self.seed,
        )
        return network.eval()

    def task(self, **changes: Any) -> Task:
        """The task of the run, with changed settings, for example `run.task(length=400)`."""
        task: Task = instantiate({**self.config["task"], **changes})
        return task


def load_runs(cell: Path) -> Iterator[Run]:
    """The runs of the trained cell in the folder `cell`, in ascending order of their seeds.

    Raises FileNotFoundError if the cell was not trained.
    """
    paths = CellPaths(cell)
    config = yaml.safe_load(paths.config.read_text(encoding="utf-8"))
    facts = Facts.from_dict(read_json(paths.task.facts))
    for seed in sorted(map(int, read_json(paths.metrics)["seeds"])):
        network = build_network(
            config["model"], config["recipe"]["initialisation"], facts, seed=seed
        )
        weights = torch.load(paths.checkpoint(seed), weights_only=True)
        network.load_state_dict(weights)
        yield Run(seed, config["plans"], config, facts, network.eval())
