"""Check the keys `match`, `tune` and `published` of a study before any job runs.

The key `match` gives all models about the same number of parameters. The key `tune` gives all
models the same search over hyperparameters. The key `published` adds results from papers to the
tables of the report. A model's number of parameters is known only after the task is prepared.
The stage `train`, and not this module, therefore raises the error if no hidden size gives the
number of parameters that `match` requests.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning.references import KEY, citation
from lookback.planning.validate_settings import (
    check_settings,
    check_target,
    did_you_mean,
    keys_of,
)
from lookback.planning.yaml_files import read_yaml
from lookback.storage.run_store import TUNING_SEED

SHORT = {"lr": "recipe.optimizer.lr"}  # short names that `tune` accepts instead of dotted keys
# Groups whose settings can be tuned. A task is not tuned, because all models share it.
GROUPS = ("model", "recipe", "trainer")
LENGTHS = ("trainer.max_steps", "trainer.max_epochs", "trainer.budget")  # cannot be tuned
MOST_VALUES = 10_000  # largest number of integers in a range of `tune`
# By default, a model may have 5 % more or fewer parameters than `match` requests.
TOLERANCE = 0.05


def match_of(
    settings: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Any] | None:
    """The study's setting `match`, with the default tolerance, or None if the study has no `match`.

    Raises UserError if a model does not have the setting hidden_size.
    """
    if "match" not in settings:
        return None
    for name, model in models.items():
        if "hidden_size" not in model:
            raise UserError(
                f"{where}: 'match' chooses the hidden_size, which model '{name}' does not have.\n"
                f"Add hidden_size to its YAML and its constructor, or remove '{name}' or 'match' "
                f"from the study. Its keys: "
                f"{', '.join(key for key in model if key != '_target_') or 'none'}."
            )
    return {"tolerance": TOLERANCE, **settings["match"]}


def tune_of(
    settings: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Mapping[str, Any]]],
    seeds: Sequence[int],
    where: str,
) -> dict[str, Any] | None:
    """The study's setting `tune`, or None if the study has no `tune`.

    The result has the keys "values" (by dotted key), "trials", "budget", "seeds" (their number) and
    "pruner". `configs` holds the
    settings of each cell by group. Raises UserError if `tune` changes a setting that one of the
    models does not have, or if the settings of the study contradict each other.
    """
    if "tune" not in settings:
        return None
    tune = dict(settings["tune"])
    wanted = [str(SHORT.get(key, key)) for key in tune if key not in keys_of("tune")]
    for cell, config in configs.items():
        known = [key for group in GROUPS for key in _keys(config[group], group)]
        for key in wanted:
            _check_key(key, known, cell, where)
    check_settings(tune, "tune", f"{where}, tune")
    trials, budget = tune.pop("trials", None), tune.pop("budget", None)
    count, pruner = tune.pop("seeds", 1), tune.pop("pruner", None)
    for key, choices in tune.items():
        _check_size(key, choices, where)
    values = {SHORT.get(key, key): _normalised(choices) for key, choices in tune.items()}
    if not values:
        raise UserError(f"{where}: 'tune' names nothing to try. Write it like 'lr: [0.001, 0.01]'.")
    if len(values) < len(tune):
        raise UserError(
            f"{where}: two keys of 'tune' have the same meaning: {', '.join(tune)}. Remove one."
        )
    if trials is None and any(isinstance(choices, Mapping) for choices in values.values()):
        raise UserError(
            f"{where}: 'tune' draws from a range, so it needs the number of draws: 'trials: 10'."
        )
    if "match" in settings and "model.hidden_size" in values:
        raise UserError(
            f"{where}: 'match' sets model.hidden_size, so 'tune' cannot try it. Remove one of both."
        )
    reserved = range(TUNING_SEED, TUNING_SEED + count)
    if used := sorted(set(reserved) & set(seeds)):
        raise UserError(f"{where}: seed {used[0]} is reserved for tuning. Remove it from 'seeds'.")
    if pruner is not None:
        check_target(pruner, f"{where}, tune.pruner")
        if count == 1:
            raise UserError(
                f"{where}: 'tune.pruner' ends a trial between two of its seeds, and a trial has "
                "one seed.\nAdd 'seeds: 3' under 'tune', or remove 'pruner'."
            )
    return {
        "values": values,
        "trials": trials,
        "budget": budget,
        "seeds": count,
        "pruner": pruner,
    }


def _keys(node: Mapping[str, Any], parent: str) -> Iterator[str]:
    """Every key of a nested mapping, as a dotted path that starts with `parent`."""
    for key, value in node.items():
        yield f"{parent}.{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{parent}.{key}")


def _check_key(key: str, known: Sequence[str], cell: str, where: str) -> None:
    if key in LENGTHS:
        raise UserError(
            f"{where}: 'tune' cannot try '{key}', because all trials have the same length.\n"
            "Set the length with 'budget: {steps: 200}' or 'budget: {epochs: 5}' under 'tune'."
        )
    if key not in known:
        raise UserError(
            f"{where}: 'tune' tries '{key}', which {cell} does not have.\n"
            + did_you_mean(key, _likely_keys(key, known))
        )


def _likely_keys(key: str, known: Sequence[str]) -> Sequence[str]:
    """The keys that an error message suggests instead of `key`, an unknown key of `tune`.

    The first choice is the keys in `known` that end with the last word of `key`. The second choice
    is the keys in `known` that start with the first word of `key`. The last choice is `lr` and the
    keys of tune.schema.yaml.
    """
    group, dot, rest = key.partition(".")
    last_word = rest.rpartition(".")[2] if dot else key
    same_word = [name for name in known if name.rpartition(".")[2] == last_word]
    same_group = [name for name in known if dot and name.startswith(f"{group}.")]
    return same_word or same_group or [*SHORT, *keys_of("tune")]


def _check_size(key: str, choices: Any, where: str) -> None:
    """Raise UserError if `choices` is a range of too many integers to check all of them."""
    low, high = (choices["low"], choices["high"]) if isinstance(choices, Mapping) else (0, 0)
    if isinstance(low, int) and isinstance(high, int) and high - low >= MOST_VALUES:
        raise UserError(
            f"{where}: the range 'tune.{key}' has more than {MOST_VALUES} integers. Move 'low' and "
            "'high' closer together."
        )


def _normalised(choices: Any) -> Any:
    """The values that tuning may try, as a list or as a range with the keys low, high and log.

    A range of integers becomes a list, unless it is logarithmic.
    """
    if not isinstance(choices, Mapping):
        return choices
    low, high, log = choices["low"], choices["high"], choices.get("log", False)
    if isinstance(low, int) and isinstance(high, int) and not log:
        return list(range(low, high + 1))
    return {"low": float(low), "high": float(high), "log": log}


def candidates(key: str, choices: Any, where: str) -> list[Any]:
    """The values of the tuned setting `key` that are checked before any job runs.

    All values of a list are checked. Of a range, the lowest, middle and highest value are checked.
    The middle of a logarithmic range is the geometric mean. The middle of any other range is the
    arithmetic mean. Raises UserError if the range is empty.
    """
    if not isinstance(choices, Mapping):
        if not choices:
            raise UserError(f"{where}: in 'tune.{key}' low is above high. Swap 'low' and 'high'.")
        return list(choices)
    low, high = choices["low"], choices["high"]
    if low >= high or (choices["log"] and low <= 0):
        positive = ", and with 'log' both above 0" if choices["log"] else ""
        raise UserError(
            f"{where}: the range 'tune.{key}' is empty: 'low' must be below 'high'{positive}."
        )
    return [low, high, math.sqrt(low * high) if choices["log"] else (low + high) / 2]


def check_trainer(trainer: Mapping[str, Any], tune: Mapping[str, Any] | None, where: str) -> None:
    """Check the settings that limit the length of a training run.

    Raises UserError if both `budget` and `max_steps` are set. Raises UserError if a budget in
    seconds would limit a tuning trial, because the number of steps would then depend on the load of
    the machine.
    """
    budget = trainer["budget"]
    if budget and trainer["max_steps"] is not None:
        raise UserError(
            f"{where}: trainer.max_steps is {trainer['max_steps']} and trainer.budget is "
            f"{json.dumps(budget)}.\nA run has one length: set one of them to null."
        )
    if budget and "seconds" in budget and tune and not tune["budget"]:
        raise UserError(
            f"{where}: the length of a trial would be {budget['seconds']} seconds, which a rerun "
            "cannot repeat exactly.\n"
            "Set 'budget: {steps: 200}' or 'budget: {epochs: 5}' under 'tune'."
        )


def published_of(conf: Path, said: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """The published results that a study names, from files in conf/published/ or from the study."""
    entries: list[dict[str, Any]] = []
    folder = conf / "published"
    there = sorted(path.stem for path in folder.glob("*.yaml"))
    for item in said:
        if not isinstance(item, str):
            entries.append(item)
            continue
        if item not in there:
            raise UserError(
                f"{where}: published '{item}' is not in conf/published/.\n"
                + did_you_mean(item, there)
            )
        entries += _entries(folder / f"{item}.yaml")
    return entries


def _entries(path: Path) -> list[dict[str, Any]]:
    where = f"conf/published/{path.name}"
    content = read_yaml(path)
    check_settings(content, "published", where)
    place = f", {content['table']}" if "table" in content else ""
    paper = content["source"]
    paper = citation(paper) if KEY.fullmatch(paper) else paper
    source = f"{paper}{place}: {content['setup']}"
    return [{"source": source, **figure} for figure in content["figures"]]
