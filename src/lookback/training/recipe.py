"""Builds the optimiser that a recipe of conf/recipe/ describes, and checks the recipe."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.runtime.instantiate import instantiate, refusal

# The settings that choose how an optimiser updates the weights. At most one of them may be true.
UPDATES = {"fused", "foreach", "differentiable"}


def optimizer_of(recipe: Mapping[str, Any], network: nn.Module) -> Optimizer:
    """The recipe's optimiser for the weights of `network`.

    Weight decay applies only to parameters with two or more dimensions, also if the recipe leaves
    `weight_decay` out and the optimiser's own default is not 0. Biases, gains and decay rates have
    one dimension and get no weight decay, because weight decay would pull them towards 0, which is
    not a neutral value for them. The recipe's `groups` give other settings to the parameters that
    they name. The key `lr_factor` of a parameter group multiplies the learning rate. The optimiser
    is fused if it can be, unless the recipe itself sets how the optimiser updates the weights.
    Raises UserError if the optimiser refuses its settings, or if `network` has no parameter of a
    name that the recipe's `groups` contain.
    """
    settings = recipe["optimizer"]
    make = instantiate({**settings, "_partial_": True})
    parameters = inspect.signature(make.func).parameters
    decays = "weight_decay" in parameters and bool(
        settings.get("weight_decay", parameters["weight_decay"].default)
    )
    groups = _groups(recipe, network, decays)
    # A fused optimiser updates all weights in one kernel, which is five times as fast as a loop.
    is_fused = "fused" in parameters and not settings.keys() & UPDATES
    try:
        optimizer: Optimizer = make(groups, **({"fused": True} if is_fused else {}))
    except (RuntimeError, TypeError, ValueError) as error:
        raise refusal(f"{settings['_target_']} refuses its settings", error) from error
    return optimizer


def _groups(recipe: Mapping[str, Any], network: nn.Module, decays: bool) -> list[dict[str, Any]]:
    """The parameter groups of the optimiser, each with its parameters and its settings."""
    rest: dict[str, list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        rest.setdefault(name.rpartition(".")[2], []).append(weight)
    groups = list[dict[str, Any]]()
    for group in recipe["groups"]:
        if missing := [name for name in group["weights"] if name not in rest]:
            raise UserError(
                f"The recipe's `groups` name {missing[0]}, but the model has no other weight of "
                f"this name. Its other weights are {', '.join(rest)}. Choose from these, or use "
                "another recipe for this model."
            )
        chosen = [weight for name in group["weights"] for weight in rest.pop(name)]
        given = {key: value for key, value in group.items() if key != "weights"}
        groups.append({"params": chosen, **given})
    others = [weight for weights in rest.values() for weight in weights]
    if decays:
        others, vectors = (
            [weight for weight in others if (weight.dim() > 1) == is_matrix]
            for is_matrix in (True, False)
        )
        groups.append({"params": vectors, "lr_factor": 1.0, "weight_decay": 0.0})
    return [{"params": others, "lr_factor": 1.0}, *groups]


def check_recipe(recipe: Mapping[str, Any], facts: Facts) -> None:
    """Raise UserError if the task does not support a setting of the recipe."""
    if recipe["label_smoothing"] and facts.kind != "class":
        raise UserError(
            f"The recipe's `label_smoothing` is {recipe['label_smoothing']}, but the task asks for "
            "a value, and a value has no label. Set recipe.label_smoothing=0."
        )
    if recipe["early_stopping"] and not facts.sizes["validation"]:
        raise UserError(
            "The recipe's `early_stopping` watches the validation split, which is empty. "
            "Set recipe.early_stopping=null, or task.validation to a number of sequences."
        )
