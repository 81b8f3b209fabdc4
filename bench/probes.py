"""Compares the time of each probe with one training epoch, for several T, H and sequence counts.

The networks are untrained because the time of a probe depends only on shapes. All measurements use
one thread. The epoch is a plain loop over the training split: forward, backward, optimiser step.
The benchmark measures every probe of conf/probe/.

    python bench/probes.py [model …]      (default: rnn lstm gru attention transformer lru)

Prints the seconds of each probe and their ratio to an epoch. Writes bench/results/probes.json with
machine, versions and commit.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from writing import write

from lookback.data.content import digest_of
from lookback.data.task import SPLITS, Task
from lookback.errors import NotApplicable
from lookback.models.network import Network, build_network
from lookback.planning.study import CellConfig, compose_by_hand
from lookback.probes.base import Probe
from lookback.runtime.instantiate import instantiate
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of
from lookback.training.run import Run

ROOT = Path(__file__).parents[1]
TASK = "delayed_recall"
MODELS = ("rnn", "lstm", "gru", "attention", "transformer", "lru")
USUAL = {"task.length": 256, "task.longest_lag": 100, "model.hidden_size": 64}
GROWTH = {
    "T": ("task.length", (128, 256, 512, 1024)),
    "H": ("model.hidden_size", (32, 64, 128)),
    "sequences": ("sequences", (64, 128, 256)),
}
SIZES = ("task.train=1024", "task.validation=64", "task.test=1024")


def probes_of(sequences: int | None) -> Mapping[str, Probe]:
    """Every probe with the settings of its YAML; `sequences` overrides the number of sequences."""
    probes = {}
    for path in sorted((ROOT / "conf/probe").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if sequences is not None and "sequences" in config:
            config["sequences"] = sequences
        probes[path.stem] = instantiate(config)
    return probes


def epoch(network: Network, task: Task, cell: CellConfig) -> float:
    """Seconds of one training epoch over the training split."""
    data, size = task.dataset("train"), cell.trainer["batch_size"]
    optimizer = optimizer_of(cell.recipe, network)
    network.train()
    start = time.perf_counter()
    for first in range(0, len(data), size):
        batch = data.batch(slice(first, first + size))
        answers = network(batch.inputs, batch.lengths, batch.query)
        loss = answer_loss(answers, batch.query, batch.target, task.facts().kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return time.perf_counter() - start


def seconds_of(probe: Probe, run: Run) -> float | None:
    """Seconds of one measurement; None if the probe does not apply to the model."""
    start = time.perf_counter()
    try:
        probe.measure(run, generator=torch.Generator().manual_seed(0))
    except NotApplicable:
        return None
    return time.perf_counter() - start


def measured(model: str, changes: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row per probe with its seconds and their ratio to an epoch; `changes` override USUAL."""
    settings = {**USUAL, **changes}
    sequences = settings.pop("sequences", None)
    overrides = [*SIZES, *(f"{name}={value}" for name, value in settings.items())]
    cell = compose_by_hand(ROOT / "conf", TASK, model, 0, overrides).cells[TASK, model]
    task: Task = instantiate(cell.task)
    start = cell.recipe["initialisation"]
    network = build_network(cell.model, start, task.facts(), seed=0).eval()
    config = {"task": cell.task, "model": cell.model, "recipe": cell.recipe}
    digests = {split: digest_of(task.dataset(split)) for split in SPLITS}
    run = Run(0, {}, config, task.facts(), network, digests)
    epoch(network, task, cell)  # warms up: includes one-time compilation
    epoch_seconds = epoch(network, task, cell)
    rows = []
    for name, probe in probes_of(sequences).items():
        seconds = seconds_of(probe, run)
        epochs = None if seconds is None else seconds / epoch_seconds
        row = {"model": model, **changes, "probe": name, "seconds": seconds, "epochs": epochs}
        rows.append(row)
        result = "does not apply" if seconds is None else f"{seconds:8.2f} s {epochs:8.2f} epochs"
        print(f"{model:<12} {changes or 'usual sizes'!s:<28} {name:<22} {result}", flush=True)
    return rows


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = [row for model in sys.argv[1:] or MODELS for row in measured(model, {})]
    for setting, values in GROWTH.values():
        rows += [row for value in values for row in measured("gru", {setting: value})]
    write("probes", rows=rows)


if __name__ == "__main__":
    main()
