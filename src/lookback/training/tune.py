"""Stage `tune`: tries the values that a study names, and chooses by the validation split alone.

Every trial is a run of its own: the cell's config with the values laid on, the tune's budget, and
one seed that no study uses. Trials are kept like seeds, so a tune that was killed goes on, and one
that is asked for more values tries only those. A grid that fits into the trials is tried whole;
from a larger one, and from ranges, Optuna draws (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization": the tree-structured Parzen estimator), each draw by what came before.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lookback.data.task import Facts
from lookback.errors import Diverged, UserError
from lookback.runtime.devices import leased
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.paths import SeedPaths
from lookback.training.match import parameters_of
from lookback.training.train import TrainingCell, open_cell, settled, train_seed

PATIENCE = 100  # draws of a point that was tried, before the next one in order is taken

Values = dict[str, Any]  # by dotted key


@dataclass(frozen=True)
class Trial:
    """What was tried, and what came of it."""

    values: Values
    score: float | None  # the metric on validation; None where the trial diverged
    parameters: int | None
    steps: int | None
    failed: str = ""  # why it diverged


def main(plan: Path, task: Path, out: Path) -> None:
    """Try what `plan` names on the task of `task` (task.json); write trials and choice to `out`.

    Raises UserError where there is no validation split, or where a value makes no network; Diverged
    where every trial did.
    """
    said, facts = read_json(plan), Facts.from_dict(read_json(task))
    if not facts.sizes["validation"]:
        raise UserError(
            f"task '{out.parent.parent.name}' has no validation split, so there is nothing to tune "
            "by.\nSet its `validation` above 0, or leave `tune` out."
        )
    trials_at = run_store.trials_folder(plan, task)
    check_grid(said, facts, trials_at)
    with leased(said["trainer"]["devices"]) as device:
        shared = _with(said, {})
        cell = open_cell(shared, plan, task, out.parent, trials_at, device, ("train", "validation"))
        better = 1 if facts.higher_is_better else -1
        trials = search(said["tune"], lambda values: attempt(cell, said, values, trials_at), better)
    _write(plan, task, out, facts, trials, better)


def _write(
    plan: Path, task: Path, out: Path, facts: Facts, trials: list[Trial], better: int
) -> None:
    good = [trial for trial in trials if trial.score is not None]
    if not good:
        raise Diverged(f"every trial: {trials[0].failed}")
    best = max(good, key=lambda trial: gain(trial, better))  # the first of those that tie
    found = {
        "plans": {**read_json(task)["plans"], "tune": plan.stem},
        "metric": facts.metric,
        "seed": run_store.TUNING_SEED,
        "chosen": best.values,
        "best": trials.index(best),
        "trials": [asdict(trial) for trial in trials],
    }
    with run_store.locked(out.parent):
        if not run_store.is_wanted(out.parent, plan.stem, "tune"):
            raise UserError(f"{out.parent} was started under another plan since; trials are kept.")
        write_json(out, found)


def check_grid(said: Mapping[str, Any], facts: Facts, trials_at: Path) -> None:
    """Build every network of a grid without memory. Raises UserError if one is not valid."""
    for values in grid(said["tune"]["values"]) or []:
        parameters_of(settled(_with(said, values), facts, trials_at)["model"], facts)


def _with(said: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The settings of a trial."""
    settings = run_store.with_values(said, values)
    if budget := said["tune"]["budget"]:
        steps, epochs = budget.get("steps"), budget.get("epochs")
        length = {"max_steps": steps, "max_epochs": epochs or settings["trainer"]["max_epochs"]}
        settings["trainer"] |= {**length, "budget": None}
    return settings


def attempt(cell: TrainingCell, said: Mapping[str, Any], values: Values, trials_at: Path) -> Trial:
    """Train one trial, if it was not before."""
    folder = run_store.trial_folder(trials_at, values, said["tune"]["budget"])
    with run_store.locked(folder):
        if not run_store.is_finished(folder):
            config = settled(_with(said, values), cell.facts, trials_at)
            train_seed(replace(cell, config=config), run_store.TUNING_SEED, folder)
    if failure := run_store.failure(folder):
        return Trial(values, None, None, None, failure)
    result = read_json(SeedPaths(folder).result)
    scores = result["scores"]
    score = scores[f"validation/{cell.facts.metric}"]
    return Trial(values, score, result["parameters"], scores["steps"])


def gain(trial: Trial, better: int) -> float:
    """How good a trial is, more is better: one that diverged is worst."""
    return -math.inf if trial.score is None else better * trial.score


def search(tune: Mapping[str, Any], attempt: Callable[[Values], Trial], better: int) -> list[Trial]:
    """All trials, in order: of the whole grid, or of as many draws as the tune has trials."""
    points = grid(tune["values"])
    if points is not None and (tune["trials"] is None or tune["trials"] >= len(points)):
        return [attempt(values) for values in points]
    return list(_drawn(tune, points, attempt, better))


def grid(space: Mapping[str, Any]) -> list[Values] | None:
    """Every combination, the last key fastest; None where a key has a range."""
    if any(isinstance(choices, Mapping) for choices in space.values()):
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _drawn(
    tune: Mapping[str, Any],
    points: list[Values] | None,
    attempt: Callable[[Values], Trial],
    better: int,
) -> Iterator[Trial]:
    """Trials at points that Optuna draws; a point drawn again costs nothing and does not count."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), direction="maximize")
    tried: dict[str, Trial] = {}
    repeated = 0
    while len(tried) < tune["trials"]:
        if points and repeated == PATIENCE:
            study.enqueue_trial(_positions(tune["values"], _first_untried(points, tried)))
        asked = study.ask()
        values = {key: _suggested(asked, key, it) for key, it in tune["values"].items()}
        name, repeated = json.dumps(values), repeated + 1
        if name not in tried:
            tried[name], repeated = attempt(values), 0
            yield tried[name]
        study.tell(asked, gain(tried[name], better))


def _suggested(asked: Any, key: str, choices: Any) -> Any:
    """A value of a range; of a list the value at a place, so that neighbours count as near."""
    if isinstance(choices, Mapping):
        return asked.suggest_float(key, choices["low"], choices["high"], log=choices["log"])
    return choices[asked.suggest_int(key, 0, len(choices) - 1)]


def _first_untried(points: list[Values], tried: Mapping[str, Trial]) -> Values:
    return next(values for values in points if json.dumps(values) not in tried)


def _positions(space: Mapping[str, Any], values: Values) -> dict[str, int]:
    return {key: space[key].index(value) for key, value in values.items()}
