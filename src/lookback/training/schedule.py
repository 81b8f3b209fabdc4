"""Learning-rate schedules, configured in conf/recipe/."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def share_of(recipe: Mapping[str, Any], steps: int) -> Callable[[int], float]:
    """The recipe's learning-rate schedule for a run of `steps` optimiser steps.

    Returns a function from the step number (from 0) to the factor that multiplies the recipe's
    learning rate.
    """
    schedule = recipe["schedule"]
    shapes = {"constant": constant, "cosine": cosine, "drop": drop, "one_cycle": one_cycle}
    shape = shapes[schedule["shape"]]
    warmup = max(1, round(schedule["warmup"] * steps)) if schedule["warmup"] else 0
    return partial(shape, warmup=warmup, steps=steps)


def constant(step: int, *, warmup: int, steps: int) -> float:
    """Learning-rate factor at `step`: rises linearly for `warmup` steps, then stays at 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: int, steps: int) -> float:
    """Learning-rate factor at `step`: linear warm-up to 1, then a half cosine down to 0.

    The decrease along half a cosine period follows [loshchilov2017], equation 5, without restarts.
    """
    if step < warmup:
        return constant(step, warmup=warmup, steps=steps)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def drop(step: int, *, warmup: int, steps: int) -> float:
    """Learning-rate factor at `step`: linear warm-up to 1, and a drop to 0.1 in the second half.

    The published code of the authors of [bai2018] uses this schedule on sequential MNIST.
    """
    return constant(step, warmup=warmup, steps=steps) * (1.0 if 2 * step < steps else 0.1)


def one_cycle(step: int, *, warmup: int, steps: int) -> float:
    """Learning-rate factor at `step`: half cosines from 1/25 up to 1, and down to 1/250,000.

    The factors are those of torch's OneCycleLR with its default settings. The momentum stays
    constant.
    """
    peak = warmup - 1  # the step at which the factor is 1
    first, start, end = (0, 1 / 25, 1.0) if step <= peak else (peak, 1.0, 1 / 250_000)
    last = peak if step <= peak else steps - 1
    return end + (start - end) / 2 * (1 + math.cos(math.pi * (step - first) / max(1, last - first)))
