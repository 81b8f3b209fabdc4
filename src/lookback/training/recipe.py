"""How a network is trained: optimiser and learning-rate schedule, from conf/recipe/."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.runtime.instantiate import instantiate


def optimizer_of(recipe: Mapping[str, Any], network: nn.Module) -> Optimizer:
    """The recipe's optimiser over the weights of `network`.

    Weight decay acts on matrices alone. A bias, a gain or a decay rate has its own meaning at zero,
    so what has one dimension is left as it is.
    """
    settings = recipe["optimizer"]
    make = instantiate({**settings, "_partial_": True})
    weights = list(network.parameters())
    groups: list[dict[str, Any]] = [{"params": weights}]
    if settings.get("weight_decay"):
        groups = [
            {"params": [it for it in weights if it.dim() > 1]},
            {"params": [it for it in weights if it.dim() <= 1], "weight_decay": 0.0},
        ]
    # One kernel for all weights: a fifth of the time of one after another.
    fused = {"fused": True} if "fused" in inspect.signature(make.func).parameters else {}
    optimizer: Optimizer = make(groups, **fused)
    return optimizer


def check_recipe(recipe: Mapping[str, Any], facts: Facts) -> None:
    """Raise a UserError where the recipe asks for what the task cannot give."""
    if recipe["label_smoothing"] and facts.kind != "class":
        raise UserError(
            f"The recipe's `label_smoothing` is {recipe['label_smoothing']}, but the task asks for "
            "a value, which has no label. Set recipe.label_smoothing=0."
        )
    if recipe["early_stopping"] and not facts.sizes["validation"]:
        raise UserError(
            "The recipe's `early_stopping` watches the validation split, which is empty. "
            "Set recipe.early_stopping=null, or task.validation to a number of sequences."
        )


def share_of(recipe: Mapping[str, Any], steps: int) -> Callable[[int], float]:
    """The recipe's schedule over a run of `steps`: a step's share of the learning rate."""
    schedule = recipe["schedule"]
    shape = {"constant": constant, "cosine": cosine, "drop": drop}[schedule["shape"]]
    warmup = max(1, round(schedule["warmup"] * steps)) if schedule["warmup"] else 0
    return partial(shape, warmup=warmup, steps=steps)


def constant(step: int, *, warmup: int, steps: int) -> float:
    """Share of the learning rate at `step`, from 0: up in a line for `warmup` steps, then 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in a line, then down to 0 along a half cosine.

    Loshchilov & Hutter 2017, "SGDR", eq. 5, without restarts.
    """
    if step < warmup:
        return constant(step, warmup=warmup, steps=steps)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def drop(step: int, *, warmup: int, steps: int) -> float:
    """Share of the learning rate at `step`: up in a line, then 1, and a tenth in the second half.

    As the code of Bai et al. 2018 does on sequential MNIST.
    """
    return constant(step, warmup=warmup, steps=steps) * (1.0 if 2 * step < steps else 0.1)
