"""A trained run as probes and explainers get it: one seed of a cell, read from its files alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from lookback.build import build
from lookback.data.task import Facts, Task
from lookback.files import read_json
from lookback.models.network import Network, build_network


@dataclass(frozen=True)
class Run:
    """One seed of a cell."""

    seed: int
    plans: Mapping[str, str]  # what this run came by, by stage
    config: Mapping[str, Any]  # task, model, recipe, trainer: as trained
    facts: Facts
    model: Network  # as trained, in eval mode

    def initial(self) -> Network:
        """The network as it was before training, in eval mode."""
        network = build_network(
            self.config["model"],
            self.config["recipe"]["initialisation"],
            self.facts,
            seed=self.seed,
        )
        return network.eval()

    def task(self, **changes: Any) -> Task:
        """The task, with some of its settings changed: `run.task(length=400)`."""
        task: Task = build({**self.config["task"], **changes})
        return task


def load_runs(cell: Path) -> Iterator[Run]:
    """The runs of a cell, by seed.

    Raises FileNotFoundError where the cell was not trained.
    """
    config = yaml.safe_load((cell / "config.yaml").read_text(encoding="utf-8"))
    facts = Facts.from_dict(read_json(cell.parent / "task.json"))
    for seed in sorted(map(int, read_json(cell / "metrics.json")["seeds"])):
        network = build_network(
            config["model"], config["recipe"]["initialisation"], facts, seed=seed
        )
        weights = torch.load(cell / "checkpoints" / f"seed={seed}.ckpt", weights_only=True)
        network.load_state_dict(weights)
        yield Run(seed, config["plans"], config, facts, network.eval())
