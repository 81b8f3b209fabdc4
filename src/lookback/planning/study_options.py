"""Equal conditions as a study asks for them: `match`, `tune`, and published figures beside ours.

Light, like all that plans. What is wrong is named before any job starts; whether a hidden size can
match is known once the task is prepared, so training says that.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lookback.errors import UserError
from lookback.planning.validation import check_settings, did_you_mean
from lookback.storage.run_store import TUNING_SEED

SHORT = {"lr": "recipe.optimizer.lr"}  # what a study may say for short
GROUPS = ("model", "recipe", "trainer")  # what may be tuned: a task is the same for all
LENGTHS = ("trainer.max_steps", "trainer.max_epochs", "trainer.budget")
TOLERANCE = 0.05


def match_of(
    said: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Any] | None:
    """The study's `match`, whole; raises UserError where a model has no size to be found."""
    if "match" not in said:
        return None
    for name, model in models.items():
        if "hidden_size" not in model:
            raise UserError(
                f"{where}: 'match' finds a hidden_size, which model '{name}' does not have.\n"
                f"Give it one in its YAML and constructor, or leave it out. It has: "
                f"{', '.join(key for key in model if key != '_target_')}."
            )
    return {"tolerance": TOLERANCE, **said["match"]}


def tune_of(
    said: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Mapping[str, Any]]],
    seeds: Sequence[int],
    where: str,
) -> dict[str, Any] | None:
    """The study's `tune`: values by dotted key, trials, and budget; `configs` are its cells.

    Raises UserError for a key that a cell does not have and for a contradiction.
    """
    if "tune" not in said:
        return None
    tune = dict(said["tune"])
    wanted = [str(SHORT.get(key, key)) for key in tune if key not in ("trials", "budget")]
    for cell, config in configs.items():
        known = [key for group in GROUPS for key in _keys(config[group], group)]
        for key in wanted:
            _check_key(key, known, cell, where)
    check_settings(tune, "tune", f"{where}, tune")
    trials, budget = tune.pop("trials", None), tune.pop("budget", None)
    values = {SHORT.get(key, key): _whole_range(it) for key, it in tune.items()}
    if not values:
        raise UserError(f"{where}: 'tune' names nothing to try. Write it like 'lr: [0.001, 0.01]'.")
    if len(values) < len(tune):
        raise UserError(f"{where}: 'tune' names one thing twice: {', '.join(tune)}.")
    if trials is None and any(isinstance(it, Mapping) for it in values.values()):
        raise UserError(f"{where}: 'tune' draws from a range: say how often, 'trials: 10'.")
    if "match" in said and "model.hidden_size" in values:
        raise UserError(f"{where}: 'match' finds model.hidden_size, so 'tune' cannot try it.")
    if TUNING_SEED in seeds:
        raise UserError(f"{where}: seed {TUNING_SEED} is the one that tuning uses. Take another.")
    return {"values": values, "trials": trials, "budget": budget}


def _keys(node: Mapping[str, Any], at: str) -> Iterator[str]:
    for key, value in node.items():
        yield f"{at}.{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{at}.{key}")


def _check_key(key: str, known: Sequence[str], cell: str, where: str) -> None:
    if key in LENGTHS:
        raise UserError(
            f"{where}: 'tune' cannot try '{key}': all trials are equally long.\n"
            "Their length is 'tune.budget': {steps: 200} or {epochs: 5}."
        )
    if key not in known:
        raise UserError(
            f"{where}: 'tune' tries '{key}', which {cell} does not have.\n"
            + did_you_mean(key, _likely(key, known))
        )


def _likely(key: str, known: Sequence[str]) -> Sequence[str]:
    """What may be meant: keys that end in the same word, else those of the group, else all."""
    group, dot, rest = key.partition(".")
    last = rest.rpartition(".")[2] if dot else key
    same = [it for it in known if it.rpartition(".")[2] == last]
    own = [it for it in known if dot and it.startswith(f"{group}.")]
    return same or own or [*SHORT, "trials", "budget"]


def _whole_range(choices: Any) -> Any:
    """Candidates as they are; whole numbers from low to high one by one; any other range whole."""
    if not isinstance(choices, Mapping):
        return choices
    low, high, log = choices["low"], choices["high"], choices.get("log", False)
    if isinstance(low, int) and isinstance(high, int) and not log:
        return list(range(low, high + 1))
    return {"low": float(low), "high": float(high), "log": log}


def candidates(key: str, choices: Any, where: str) -> list[Any]:
    """What to check of a key's values: all of a list; of a range both ends and the middle.

    Raises UserError where a range has no inside.
    """
    if not isinstance(choices, Mapping):
        if not choices:
            raise UserError(f"{where}: 'tune.{key}' runs from high to low. Swap 'low' and 'high'.")
        return list(choices)
    low, high = choices["low"], choices["high"]
    if low >= high or (choices["log"] and low <= 0):
        above = " with 'log', both above 0" if choices["log"] else ""
        raise UserError(f"{where}: 'tune.{key}' has no values: 'low' must be below 'high'{above}.")
    return [low, high, math.sqrt(low * high) if choices["log"] else (low + high) / 2]


def check_trainer(trainer: Mapping[str, Any], tune: Mapping[str, Any] | None, where: str) -> None:
    """Raise UserError where a run's length is said twice, or trials would hang on a clock."""
    budget = trainer["budget"]
    if budget and trainer["max_steps"] is not None:
        raise UserError(
            f"{where}: trainer.max_steps is {trainer['max_steps']}, and trainer.budget is "
            f"{json.dumps(budget)}.\nA run has one length: set the other to null."
        )
    if budget and "seconds" in budget and tune and not tune["budget"]:
        raise UserError(
            f"{where}: 'tune' would try by seconds, which no rerun repeats.\n"
            "Say how long a trial is: 'tune.budget': {steps: 200} or {epochs: 5}."
        )


def published_of(conf: Path, said: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """Published figures, one an entry: of files in conf/published/, or said inline."""
    entries: list[dict[str, Any]] = []
    folder = conf / "published"
    for item in said:
        if not isinstance(item, str):
            entries.append(item)
            continue
        path = folder / f"{item}.yaml"
        if not path.exists():
            there = sorted(it.stem for it in folder.glob("*.yaml"))
            raise UserError(
                f"{where}: published '{item}' is not in conf/published/.\n"
                + did_you_mean(item, there)
            )
        entries += _entries(path)
    return entries


def _entries(path: Path) -> list[dict[str, Any]]:
    where = f"conf/published/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    check_settings(content, "published", where)
    place = f", {content['table']}" if "table" in content else ""
    source = f"{content['source']}{place}: {content['setup']}"
    return [{"source": source, **figure} for figure in content["figures"]]
