"""Loads the trained networks of a cell (one model on one task) for probes and explainers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from lookback.data.batch import SequenceDataset
from lookback.data.content import as_prepared
from lookback.data.task import Facts, Split, Task
from lookback.errors import UserError
from lookback.models.network import Network, build_network
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths
from lookback.storage.contents import have_digests


@dataclass(frozen=True)
class Run:
    """A network trained with one seed, with its settings and the facts of its task."""

    seed: int
    plans: Mapping[str, str]  # digest of the plan file (settings) of each stage, keyed by the stage
    config: Mapping[str, Any]  # settings of the task, model, recipe and trainer
    facts: Facts
    model: Network  # the trained network, in eval mode
    digests: Mapping[Split, str]  # digest of each split of the data that the network was trained on

    def initial(self) -> Network:
        """The network with its initial weights, as before training, in eval mode."""
        network = build_network(
            self.config["model"],
            self.config["recipe"]["initialisation"],
            self.facts,
            seed=self.seed,
        )
        return network.eval()

    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split.

        Raises UserError if the data have changed since the task was prepared.
        """
        return as_prepared(self._own_task, split, self.digests)

    @cached_property
    def _own_task(self) -> Task:
        """The task of the run, made once, so that a split in use is not drawn again."""
        return self.task()

    def task(self, **changes: Any) -> Task:
        """The task of the run, with changed settings, for example `run.task(length=400)`.

        Its splits are those of the run, if each run draws its own.
        """
        task: Task = instantiate({**self.config["task"], **changes})
        return task.of_run(self.seed)


def load_runs(cell: Path) -> Iterator[Run]:
    """The trained networks of one model on one task, in ascending order of their seeds.

    The networks are loaded from the folder `cell`. Raises FileNotFoundError if the folder `cell`
    contains no trained networks. Raises UserError if a file of the training is damaged.
    """
    paths = CellPaths(cell)
    config = yaml.safe_load(paths.config.read_text(encoding="utf-8"))
    _check_files(paths)
    prepared = read_json(paths.task.facts)
    facts = Facts.from_dict(prepared)
    metrics = read_json(paths.metrics)
    for seed in sorted(map(int, metrics["seeds"])):
        network = build_network(
            config["model"], config["recipe"]["initialisation"], facts, seed=seed
        )
        weights = torch.load(paths.checkpoint(seed), weights_only=True)
        network.load_state_dict(weights)
        digests = {**prepared["digest"], **metrics.get("digest", {}).get(str(seed), {})}
        yield Run(seed, config["plans"], config, facts, network.eval(), digests)


def _check_files(cell: CellPaths) -> None:
    """Raise UserError if a file that metrics.json lists is missing or has another content.

    In this case, metrics.json is deleted, so that the next run makes the files again.
    """
    if not have_digests(cell.folder, read_json(cell.metrics).get("files", {})):
        cell.metrics.unlink(missing_ok=True)
        raise UserError(
            f"a file in {cell.folder}/ is damaged. Start the study again: it makes the files of "
            "this model again from the finished seeds."
        )
