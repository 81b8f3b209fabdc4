"""Computes how many optimiser steps a training run takes, from the settings of the trainer.

The trainer's setting `budget` overrides `max_steps`, and `max_steps` overrides `max_epochs`. If the
budget is in FLOPs or in seconds, one of these formulas gives the number of optimiser steps:

steps = FLOPs / (3 · FLOPs of a forward pass of one sequence · sequences per batch)
steps = seconds / (seconds of a step)

The factor 3 counts the forward pass once and the backward pass twice, because the backward pass
takes two matrix products for each product of the forward pass ([kaplan2020], section 2.1). For a
budget in seconds, the duration of a training step is measured once, before the first training run
of the model. The resulting number of steps is stored beside the trained networks, because a second
measurement would give a different number of steps, even on the same machine. Once the number of
steps is stored, training is as reproducible as with a fixed number of steps.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lookback.data.batch import SequenceDataset
from lookback.data.task import Facts
from lookback.models.cost import forward_flops
from lookback.models.network import build_network, undrawn_network
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import measured_steps_file
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of

# The measurement performs `WARM` training steps without timing, then `TIMED` steps with timing.
WARM, TIMED = 3, 11


def steps_of(trainer: Mapping[str, Any], sequences: int) -> int:
    """Number of optimiser steps of a training run.

    The result is the setting `max_steps`. If `max_steps` is None, the result is the number of
    batches in `max_epochs` epochs over `sequences` training sequences.
    """
    if trainer["max_steps"] is not None:
        return int(trainer["max_steps"])
    return int(trainer["max_epochs"]) * -(-sequences // int(trainer["batch_size"]))


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
        forward = forward_flops(undrawn_network(config["model"], facts), facts)
        step_flops = 3 * forward * trainer["batch_size"]
        trainer["max_steps"] = _whole_steps(float(budget["flops"]), step_flops)
    elif "seconds" in budget and measured_steps_file(runs).exists():
        trainer["max_steps"] = read_json(measured_steps_file(runs))["steps"]
    return {**config, "trainer": trainer}


def with_measured_steps(
    config: Mapping[str, Any], facts: Facts, train: SequenceDataset, runs: Path
) -> dict[str, Any]:
    """The settings `config`, with `max_steps` computed from the training budget.

    If the budget is in seconds, the first call measures the duration of a training step, and stores
    the resulting number of steps in the folder `runs`. Later calls read the number of steps from
    the folder `runs`.
    """
    budget = config["trainer"]["budget"] or {}
    if "seconds" in budget:
        with run_store.locked(runs):
            if not measured_steps_file(runs).exists():
                step_seconds = statistics.median(_time_steps(config, facts, train))
                steps = _whole_steps(float(budget["seconds"]), step_seconds)
                measurement = {"steps": steps, "seconds_of_a_step": step_seconds}
                write_json(measured_steps_file(runs), measurement)
    return with_steps(config, facts, runs)


def _whole_steps(budget: float, cost_of_step: float) -> int:
    return max(1, int(budget / cost_of_step))


def _time_steps(config: Mapping[str, Any], facts: Facts, train: SequenceDataset) -> list[float]:
    """The durations, in seconds, of `TIMED` training steps of a temporary network."""
    network = build_network(config["model"], config["recipe"]["initialisation"], facts, seed=0)
    network.to(train.inputs.device)
    optimizer = optimizer_of(config["recipe"], network)
    batch = train.batch(slice(0, config["trainer"]["batch_size"]))
    times = []
    for _ in range(WARM + TIMED):
        start = time.perf_counter()
        answers = network(batch.inputs, batch.lengths, batch.query)
        optimizer.zero_grad()
        loss = answer_loss(answers, batch.query, batch.target, facts.kind)
        torch.autograd.backward([loss])
        optimizer.step()
        if train.inputs.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[WARM:]
