"""Computes how many optimiser steps a training run takes, from the settings of the trainer.

The trainer's setting `budget` overrides `max_steps`, and `max_steps` overrides `max_epochs`.

A budget in FLOPs counts the products of the forward and the backward pass of every sequence that is
trained, at all its steps and queries (lookback/models/cost.py). The last batch of an epoch may hold
fewer sequences, so the steps are counted by epochs.

For a budget in seconds, the duration of a training step is measured once, before the first training
run of the model. The measured step is the step of the training run, with its clipping, truncation,
compilation and precision. The step is measured alone: if several seeds share a GPU, their steps may
take longer. The number of steps is the budget divided by the duration. It is stored beside the
trained networks, because a second measurement would give a different number of steps, even on the
same machine. Once the number of steps is stored, training is as reproducible as with a fixed number
of steps.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import torch

from lookback.data.batch import Batch
from lookback.data.task import Facts
from lookback.models.cost import training_flops
from lookback.models.network import build_network, undrawn_network
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import measured_steps_file
from lookback.training.batches import TrainData, order
from lookback.training.modes import set_modes
from lookback.training.module import TrainingModule
from lookback.training.trainer import fit

# The measurement performs `WARM` training steps without timing, then `TIMED` steps with timing.
WARM, TIMED = 3, 11
POINTS = 20  # minimum number of validations of a run, if the trainer does not set their distance


def steps_of(trainer: Mapping[str, Any], sequences: int) -> int:
    """Number of optimiser steps of a training run.

    The result is the setting `max_steps`. If `max_steps` is None, the result is the number of
    batches in `max_epochs` epochs over `sequences` training sequences.
    """
    if trainer["max_steps"] is not None:
        return int(trainer["max_steps"])
    return int(trainer["max_epochs"]) * -(-sequences // int(trainer["batch_size"]))


def steps_between_validations(trainer: Mapping[str, Any], steps: int) -> int:
    """Number of optimiser steps between two validations of a run of `steps` steps.

    The result is the setting `validate_every`. If `validate_every` is None, a run has `POINTS` to
    2 · `POINTS` validations, or one after each step if it has fewer steps than `POINTS`.
    """
    return int(trainer["validate_every"] or max(1, steps // POINTS))


def with_steps(config: Mapping[str, Any], facts: Facts, runs: Path) -> dict[str, Any]:
    """The settings `config`, with `max_steps` computed from the training budget.

    For a budget in seconds, the number of steps is read from the folder `runs`, where
    `with_measured_steps` stores it. If the folder `runs` stores no number of steps yet, `max_steps`
    keeps its configured value.
    """
    trainer = dict(config["trainer"])
    budget = trainer["budget"] or {}
    if "steps" in budget:
        trainer["max_steps"] = budget["steps"]
    elif "flops" in budget:
        flops = training_flops(undrawn_network(config["model"], facts), facts)
        sequences = float(budget["flops"]) / flops
        trainer["max_steps"] = _steps_for(sequences, facts.sizes["train"], trainer["batch_size"])
    elif "seconds" in budget and measured_steps_file(runs).exists():
        trainer["max_steps"] = read_json(measured_steps_file(runs))["steps"]
    return {**config, "trainer": trainer}


def with_measured_steps(
    config: Mapping[str, Any], facts: Facts, train: TrainData, runs: Path
) -> dict[str, Any]:
    """The settings `config`, with `max_steps` computed from a training budget in seconds.

    The first call measures the duration of a training step, and stores the resulting number of
    steps in the folder `runs`. Later calls read the number of steps from the folder `runs`.
    """
    budget = config["trainer"]["budget"] or {}
    if "seconds" not in budget:
        return dict(config)
    with run_store.locked(runs):
        if not measured_steps_file(runs).exists():
            step_seconds = statistics.median(_time_steps(config, facts, train))
            steps = max(1, int(float(budget["seconds"]) / step_seconds))
            measurement = {"steps": steps, "seconds_of_a_step": step_seconds}
            write_json(measured_steps_file(runs), measurement)
    return with_steps(config, facts, runs)


def _steps_for(sequences: float, of_epoch: int, batch_size: int) -> int:
    """The largest number of steps that train at most `sequences` sequences, and at least one step.

    An epoch trains `of_epoch` sequences, and its last batch holds those that are left over.
    """
    epochs, rest = divmod(int(sequences), of_epoch)
    return max(1, epochs * -(-of_epoch // batch_size) + rest // batch_size)


def _time_steps(config: Mapping[str, Any], facts: Facts, train: TrainData) -> list[float]:
    """The durations, in seconds, of `TIMED` training steps of a temporary network."""
    trainer, device = config["trainer"], str(train.device)
    network = build_network(config["model"], config["recipe"]["initialisation"], facts, seed=0)
    set_modes(network, trainer, device)
    # Each step lasts from one start to the next, so the start of one more step is recorded.
    module = TrainingModule(
        network,
        config["recipe"],
        facts,
        steps=WARM + TIMED + 1,
        seed=0,
        accumulate=trainer["accumulate"],
    )
    starts: list[float] = []
    # Lightning would take a list for several data loaders, so it gets an iterator over one window.
    window = _recorded(train, trainer["batch_size"], starts)
    fit(module, iter([window]), trainer, device, [])
    return [end - start for start, end in pairwise(starts[WARM:])]


def _recorded(train: TrainData, batch_size: int, starts: list[float]) -> Iterator[Batch]:
    """Yield full batches without end, and append the time of each to `starts`, in seconds."""
    whole = len(train) // batch_size * batch_size or len(train)
    shuffled = order(len(train), seed=0, epoch=0)[:whole].to(train.device)
    for step, index in enumerate(cycle(torch.split(shuffled, batch_size))):
        if train.device.type == "cuda":
            torch.cuda.synchronize()
        starts.append(time.perf_counter())
        yield train.train_batch(step, index)
