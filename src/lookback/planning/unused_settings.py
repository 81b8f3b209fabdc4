"""Notices about settings without an effect on a model, and about models without a fast kernel.

A study may give one recipe to all its models, although some models do not use all of its settings.
For that reason such a setting is a notice and not an error. A setting with the value of
conf/recipe/default.yaml gives no notice, because nobody chose it for the model.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

# The keys of a recipe's `initialisation` that have an effect on a model, by the model's class.
# A class that is not listed gives no notice.
USED = {
    "lookback.models.rnn.RNN": {"recurrent", "input"},
    "lookback.models.lstm.LSTM": {"recurrent", "input", "forget_bias", "unit"},
    "lookback.models.gru.GRU": {"recurrent", "input", "forget_bias", "unit"},
    "lookback.models.mingru.MinGRU": {"input", "forget_bias", "unit"},
    "lookback.models.minlstm.MinLSTM": {"input", "forget_bias", "unit"},
    "lookback.models.lru.LRU": {"input"},
    "lookback.models.tcn.TCN": {"input"},
    "lookback.models.transformer.Transformer": set[str](),
}
# Settings for which a model has no fast kernel, each with the value that keeps the kernel.
WITH_KERNEL = {"layer_norm": False, "recurrent_dropout": 0, "reset": "after"}
# Classes that use of `forget_bias` only the value `chrono`, because their gates start balanced.
ONLY_CHRONO = {"lookback.models.gru.GRU", "lookback.models.mingru.MinGRU"}


def notices_of(conf: Path, cells: Mapping[tuple[str, str], Any]) -> tuple[str, ...]:
    """Sentences on settings without an effect or without a fast kernel, and the models they name.

    `cells` holds the settings of each task and model of a study. `conf` is the folder of options.
    """
    default = conf / "recipe" / "default.yaml"
    usual = yaml.safe_load(default.read_text(encoding="utf-8")) if default.exists() else {}
    models: dict[str, list[str]] = {}
    for (_, name), cell in cells.items():
        chosen = cell.recipe["initialisation"]
        for sentence in _sentences(cell.model, chosen, usual.get("initialisation", chosen)):
            named = models.setdefault(sentence, [])
            if name not in named:
                named.append(name)
    return tuple(sentence.format(models=", ".join(named)) for sentence, named in models.items())


def _sentences(
    model: Mapping[str, Any], chosen: Mapping[str, Any], usual: Mapping[str, Any]
) -> Iterator[str]:
    """The notices about one model. `{models}` stands for the names of the models."""
    encoder = model.get("encoder", model)
    target = encoder["_target_"]
    for key, value in chosen.items():
        is_used = key in USED.get(target, chosen)
        if target in ONLY_CHRONO and key == "forget_bias":
            is_used = value == "chrono"
        if not is_used and value != usual.get(key):
            yield f"recipe.initialisation.{key}={value} has no effect on {{models}}."
    for key, value in WITH_KERNEL.items():
        if encoder.get(key, value) != value:
            yield (
                f"There is no fast kernel for {key}={encoder[key]}. For {{models}}, torch computes "
                "one step after another, which takes two to seven times as long."
            )
    if chosen["recurrent"] == "identity" and encoder.get("nonlinearity") == "tanh":
        yield (
            "recipe.initialisation.recurrent=identity is meant for rectified units, but {models} "
            "has model.nonlinearity=tanh. An IRNN needs model.nonlinearity=relu."
        )
