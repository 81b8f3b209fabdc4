"""How many steps a run has: `max_epochs`, or in its place `max_steps`, or in theirs a `budget`.

steps = budget / (3 · FLOPs of a forward pass of one sequence · sequences a batch)
steps = budget / (seconds of a step)

The backward pass of a network takes two products for each one of its forward pass: hence 3 (Kaplan
et al. 2020, "Scaling laws for neural language models", section 2.1). Seconds are measured once,
before the first seed, and kept with the seeds: no other machine, and no second measurement, gives
the same steps, but from there on all is as exact as by steps.
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
from lookback.storage.paths import measured_steps_file
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of

WARM, TIMED = 3, 11  # steps before the first one that is timed, and those that are


def steps_of(trainer: Mapping[str, Any], sequences: int) -> int:
    """Optimiser steps of a run: `max_steps`, or `max_epochs` over `sequences`."""
    if trainer["max_steps"] is not None:
        return int(trainer["max_steps"])
    return int(trainer["max_epochs"]) * -(-sequences // int(trainer["batch_size"]))


def with_steps(config: Mapping[str, Any], facts: Facts, runs: Path) -> dict[str, Any]:
    """The config with its budget as `max_steps`; one of seconds that was not measured yet stays."""
    trainer = dict(config["trainer"])
    budget = trainer["budget"] or {}
    if "steps" in budget:
        trainer["max_steps"] = budget["steps"]
    elif "flops" in budget:
        forward = forward_flops(undrawn_network(config["model"], facts), facts)
        trainer["max_steps"] = _whole(float(budget["flops"]), 3 * forward * trainer["batch_size"])
    elif "seconds" in budget and measured_steps_file(runs).exists():
        trainer["max_steps"] = read_json(measured_steps_file(runs))["steps"]
    return {**config, "trainer": trainer}


def measured(
    config: Mapping[str, Any], facts: Facts, train: SequenceDataset, runs: Path
) -> dict[str, Any]:
    """The config with its steps, also where seconds had yet to be measured; kept in `runs` then."""
    budget = config["trainer"]["budget"] or {}
    if "seconds" in budget:
        with run_store.locked(runs):
            if not measured_steps_file(runs).exists():
                step = statistics.median(_seconds_of_steps(config, facts, train))
                steps = _whole(float(budget["seconds"]), step)
                write_json(measured_steps_file(runs), {"steps": steps, "seconds_of_a_step": step})
    return with_steps(config, facts, runs)


def _whole(budget: float, step: float) -> int:
    return max(1, int(budget / step))


def _seconds_of_steps(
    config: Mapping[str, Any], facts: Facts, train: SequenceDataset
) -> list[float]:
    """The time of each of a few steps of a network that is thrown away."""
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
