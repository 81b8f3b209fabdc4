"""Stage `tune`: tries hyperparameter values of a study, and chooses the best on validation data.

Each trial trains a network with one combination of hyperparameter values. The training budget of a
trial comes from the study's `tune` settings. All trials use the same seed, which no study uses.
Finished trials are stored, so a tuning run that was killed can continue. If values are added to the
study later, only trials with the added values are trained. Every combination of values is tried if
the allowed number of trials is large enough. If there are more combinations than trials, or if a
study gives a range of values, Optuna draws the combinations with the tree-structured Parzen
estimator [bergstra2011]. The Parzen estimator uses the scores of all earlier trials.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lookback.data.task import Facts
from lookback.errors import Diverged, UserError
from lookback.runtime.gpu_lease import leased
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import SeedPaths
from lookback.training.match import parameters_of
from lookback.training.train import TrainingCell, open_cell, resolve_settings, train_seed

# If Optuna repeats tried combinations this many times in a row, an untried combination is used.
PATIENCE = 100

Values = dict[str, Any]  # setting → value, such as {"recipe.optimizer.lr": 0.003}


@dataclass(frozen=True)
class Trial:
    """One combination of hyperparameter values, and the result of training a network with it."""

    values: Values
    score: float | None  # validation metric, or None if the training diverged
    parameters: int | None
    steps: int | None
    failed: str = ""  # reason for the divergence, or empty if the training did not diverge


def main(plan: Path, task: Path, out: Path) -> None:
    """Run all trials of a tuning, and write the trials and the chosen values to the file `out`.

    `plan` is the file with the settings of the tuning, and `task` is the file task.json of the
    prepared task. Raises UserError if the task has no validation split, or if no network can be
    built with one of the combinations of values. Raises Diverged if the training diverged in every
    trial.
    """
    settings, facts = read_json(plan), Facts.from_dict(read_json(task))
    if not facts.sizes["validation"]:
        raise UserError(
            f"task '{out.parent.parent.name}' has no validation split, which tuning needs to "
            "compare trials.\nSet the task's `validation` above 0, or remove `tune` from the study."
        )
    folder = run_store.trials_folder(plan, task)
    check_grid(settings, facts, folder)
    with leased(settings["trainer"]["devices"]) as device:
        shared = _trial_settings(settings, {})
        cell = open_cell(shared, plan, task, out.parent, folder, device, ("train", "validation"))
        cell = cell.with_data_of(run_store.TUNING_SEED)  # drawn once for all trials
        better = 1 if facts.higher_is_better else -1
        attempt = partial(run_trial, cell, settings, folder)
        trials = search(settings["tune"], attempt, better)
    _write(plan, task, out, facts, trials, better)


def _write(
    plan: Path, task: Path, out: Path, facts: Facts, trials: list[Trial], better: int
) -> None:
    good = [trial for trial in trials if trial.score is not None]
    if not good:
        raise Diverged(f"every trial: {trials[0].failed}")
    best = max(good, key=lambda trial: gain(trial, better))  # on a tie, the earliest trial
    result = {
        "plans": {**read_json(task)["plans"], "tune": plan.stem},
        "metric": facts.metric,
        "seed": run_store.TUNING_SEED,
        "chosen": best.values,
        "best": trials.index(best),
        "trials": [asdict(trial) for trial in trials],
    }
    with run_store.locked(out.parent):
        if not run_store.is_wanted(out.parent, plan.stem, "tune"):
            raise UserError(
                f"another plan was started for {out.parent} meanwhile, so {out.name} is not "
                "written. The trials are kept."
            )
        write_json(out, result)


def check_grid(settings: Mapping[str, Any], facts: Facts, trials: Path) -> None:
    """Build a network for every combination of values, without allocating memory for its weights.

    Raises UserError if no network can be built with one of the combinations of values.
    """
    for values in grid(settings["tune"]["values"]) or []:
        config = resolve_settings(_trial_settings(settings, values), facts, trials)
        parameters_of(config["model"], facts)


def _trial_settings(settings: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The training settings of a trial, with its hyperparameter values and its training budget."""
    changed = run_store.with_values(settings, values)
    if budget := settings["tune"]["budget"]:
        steps, epochs = budget.get("steps"), budget.get("epochs")
        length = {"max_steps": steps, "max_epochs": epochs or changed["trainer"]["max_epochs"]}
        changed["trainer"] |= {**length, "budget": None}
    return changed


def run_trial(
    cell: TrainingCell, settings: Mapping[str, Any], trials: Path, values: Values
) -> Trial:
    """Train a network with the hyperparameters `values`, or load the finished trial from disk."""
    folder = run_store.trial_folder(trials, values, settings["tune"]["budget"])
    with run_store.locked(folder):
        if not run_store.is_intact(folder):
            config = resolve_settings(_trial_settings(settings, values), cell.facts, trials)
            train_seed(replace(cell, config=config), run_store.TUNING_SEED, folder)
    if failure := run_store.failure(folder):
        return Trial(values, None, None, None, failure)
    result = read_json(SeedPaths(folder).result)
    scores = result["scores"]
    score = scores[f"validation/{cell.facts.metric}"]
    return Trial(values, score, result["parameters"], scores["steps"])


def gain(trial: Trial, better: int) -> float:
    """The score of a trial, with its sign chosen so that a higher gain is always better.

    `better` is 1 if a higher score is better, and −1 if a lower score is better. The gain of a
    trial that diverged is −∞.
    """
    return -math.inf if trial.score is None else better * trial.score


def search(tune: Mapping[str, Any], attempt: Callable[[Values], Trial], better: int) -> list[Trial]:
    """Run all trials, and return them in the order in which they were run.

    Every combination of values is tried if `tune` sets no number of trials, or a number that is
    large enough for all combinations. If there are more combinations than trials, or if `tune`
    gives a range of values, Optuna draws one combination of values per trial.
    """
    points = grid(tune["values"])
    if points is not None and (tune["trials"] is None or tune["trials"] >= len(points)):
        return [attempt(values) for values in points]
    return list(_drawn(tune, points, attempt, better))


def grid(space: Mapping[str, Any]) -> list[Values] | None:
    """All combinations of the values that `space` lists, with the last key varying fastest.

    The result is None if `space` gives a range of values for a key instead of a list.
    """
    if any(isinstance(choices, Mapping) for choices in space.values()):
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _drawn(
    tune: Mapping[str, Any],
    points: list[Values] | None,
    attempt: Callable[[Values], Trial],
    better: int,
) -> Iterator[Trial]:
    """Run trials with combinations of values that Optuna draws.

    A combination that Optuna draws again is not trained again, and does not count as a trial.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), direction="maximize")
    tried: dict[str, Trial] = {}
    repeated = 0
    while len(tried) < tune["trials"]:
        if points and repeated == PATIENCE:
            study.enqueue_trial(_positions(tune["values"], _first_untried(points, tried)))
        asked = study.ask()
        values = {key: _suggest(asked, key, choices) for key, choices in tune["values"].items()}
        name, repeated = json.dumps(values), repeated + 1
        if name not in tried:
            tried[name], repeated = attempt(values), 0
            yield tried[name]
        study.tell(asked, gain(tried[name], better))


def _suggest(asked: Any, key: str, choices: Any) -> Any:
    """The value that Optuna suggests for `key`, from a range or from a list.

    For a list, Optuna draws the index of the value, so that Optuna's model treats neighbouring
    values of the list as similar.
    """
    if isinstance(choices, Mapping):
        return asked.suggest_float(key, choices["low"], choices["high"], log=choices["log"])
    return choices[asked.suggest_int(key, 0, len(choices) - 1)]


def _first_untried(points: list[Values], tried: Mapping[str, Trial]) -> Values:
    return next(values for values in points if json.dumps(values) not in tried)


def _positions(space: Mapping[str, Any], values: Values) -> dict[str, int]:
    return {key: space[key].index(value) for key, value in values.items()}
