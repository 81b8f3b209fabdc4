"""Stage `tune`: tries the values that a study lists, and chooses the best by the validation split.

Each trial trains the cell with one combination of values, with the training budget of the study's
`tune` settings, and with a fixed seed that no study uses. Finished trials are stored like finished
seeds, so a killed tuning continues, and a tuning with added values trains the added values only. If
the number of trials allows the whole grid, every combination is tried. Otherwise, and for ranges of
values, Optuna draws combinations with the tree-structured Parzen estimator [bergstra2011], which
uses the scores of all earlier trials.
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
from lookback.runtime.devices import leased
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.paths import SeedPaths
from lookback.training.match import parameters_of
from lookback.training.train import TrainingCell, open_cell, resolve_settings, train_seed

# After this number of repeated draws in a row, the search takes the first untried grid point.
PATIENCE = 100

Values = dict[str, Any]  # dotted key → value, such as {"recipe.optimizer.lr": 0.003}


@dataclass(frozen=True)
class Trial:
    """One combination of values, and the result of training with it."""

    values: Values
    score: float | None  # the metric on the validation split; None if the trial diverged
    parameters: int | None
    steps: int | None
    failed: str = ""  # why the trial diverged; empty if it did not


def main(plan: Path, task: Path, out: Path) -> None:
    """Run the trials of `plan` on the prepared task `task` (task.json).

    Writes all trials and the chosen values to the file `out`. Raises UserError if the task has no
    validation split, or if no network can be built with one of the values. Raises Diverged if every
    trial diverged.
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
    """Build the network of every grid point, without allocating its weights.

    Raises UserError if the values of a grid point do not give a valid network.
    """
    for values in grid(settings["tune"]["values"]) or []:
        config = resolve_settings(_trial_settings(settings, values), facts, trials)
        parameters_of(config["model"], facts)


def _trial_settings(settings: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The settings of one trial: the cell's settings, with `values` and the budget of `tune`."""
    changed = run_store.with_values(settings, values)
    if budget := settings["tune"]["budget"]:
        steps, epochs = budget.get("steps"), budget.get("epochs")
        length = {"max_steps": steps, "max_epochs": epochs or changed["trainer"]["max_epochs"]}
        changed["trainer"] |= {**length, "budget": None}
    return changed


def run_trial(
    cell: TrainingCell, settings: Mapping[str, Any], trials: Path, values: Values
) -> Trial:
    """The trial of `values`; it is trained only if the folder `trials` does not store it yet."""
    folder = run_store.trial_folder(trials, values, settings["tune"]["budget"])
    with run_store.locked(folder):
        if not run_store.is_finished(folder):
            config = resolve_settings(_trial_settings(settings, values), cell.facts, trials)
            train_seed(replace(cell, config=config), run_store.TUNING_SEED, folder)
    if failure := run_store.failure(folder):
        return Trial(values, None, None, None, failure)
    result = read_json(SeedPaths(folder).result)
    scores = result["scores"]
    score = scores[f"validation/{cell.facts.metric}"]
    return Trial(values, score, result["parameters"], scores["steps"])


def gain(trial: Trial, better: int) -> float:
    """The score of a trial, with its sign chosen so that a higher gain is better.

    `better` is 1 if a higher score is better, and −1 if a lower score is better. The gain of a
    diverged trial is −∞.
    """
    return -math.inf if trial.score is None else better * trial.score


def search(tune: Mapping[str, Any], attempt: Callable[[Values], Trial], better: int) -> list[Trial]:
    """Run all trials and return them in the order in which they were run.

    The trials are the whole grid if `tune` sets no number of trials, or allows at least as many
    trials as grid points. Otherwise Optuna draws the combinations of values, one per trial.
    """
    points = grid(tune["values"])
    if points is not None and (tune["trials"] is None or tune["trials"] >= len(points)):
        return [attempt(values) for values in points]
    return list(_drawn(tune, points, attempt, better))


def grid(space: Mapping[str, Any]) -> list[Values] | None:
    """Every combination of the listed values, the last key varying fastest.

    None if a key has a range instead of a list.
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
    """Run trials at points that Optuna draws.

    A point that is drawn again is not trained again, and does not count as a trial.
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

    From a list, Optuna draws the index, so that its model treats neighbouring values as similar.
    """
    if isinstance(choices, Mapping):
        return asked.suggest_float(key, choices["low"], choices["high"], log=choices["log"])
    return choices[asked.suggest_int(key, 0, len(choices) - 1)]


def _first_untried(points: list[Values], tried: Mapping[str, Trial]) -> Values:
    return next(values for values in points if json.dumps(values) not in tried)


def _positions(space: Mapping[str, Any], values: Values) -> dict[str, int]:
    return {key: space[key].index(value) for key, value in values.items()}
