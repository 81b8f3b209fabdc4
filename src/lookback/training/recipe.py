"""How a network is trained: optimiser and learning-rate schedule, from conf/recipe/."""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lookback.build import build


def optimizer_of(recipe: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The recipe's optimiser over `parameters`."""
    optimizer: Optimizer = build(recipe["optimizer"], params=parameters)
    return optimizer


def schedule_of(recipe: Mapping[str, Any], optimizer: Optimizer, steps: int) -> LambdaLR:
    """The recipe's schedule over a run of `steps`, set anew at each step."""
    schedule = recipe["schedule"]
    factor = {"constant": constant, "cosine": cosine}[schedule["shape"]]
    warmup = max(1, round(schedule["warmup"] * steps)) if schedule["warmup"] else 0
    return LambdaLR(optimizer, partial(factor, warmup=warmup, steps=steps))


def constant(step: int, *, warmup: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in a line for `warmup` steps, then 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in a line, then down to 0 along a half cosine.

    Loshchilov & Hutter 2017, "SGDR", eq. 5, without restarts.
    """
    if step < warmup:
        return constant(step, warmup=warmup, steps=steps)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
