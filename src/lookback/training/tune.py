"""Stage `tune`: tries hyperparameter values of a study, and chooses the best on validation data.

Each trial trains networks with one combination of hyperparameter values, one network per seed, and
its score is the mean over these seeds. The training budget of a network and the number of seeds
come from the study's `tune` settings. All trials use the same seeds, which no study uses. If the
study names a pruner of Optuna, the pruner may end a trial after each of its seeds but the last,
from the scores of the same seeds in earlier trials. A trial that was pruned cannot be chosen.
Finished trials are stored, so a tuning run that was killed can continue. If values are added to the
study later, only trials with the added values are trained. Every combination of values is tried if
the allowed number of trials is large enough. If there are more combinations than trials, or if a
study gives a range of values, Optuna draws the combinations with the tree-structured Parzen
estimator [bergstra2011]. The Parzen estimator uses the scores of all earlier trials.
"""

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from lookback.data.task import Facts
from lookback.errors import Diverged, UserError
from lookback.runtime.gpu_lease import leased
from lookback.runtime.instantiate import instantiate
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import SeedPaths
from lookback.training.match import parameters_of
from lookback.training.train import TrainingCell, open_cell, resolve_settings, train_seed

# If Optuna repeats tried combinations this many times in a row, an untried combination is used.
PATIENCE = 100

Values = dict[str, Any]  # setting → value, such as {"recipe.optimizer.lr": 0.003}
Attempt = Callable[[Values, int], "Trial"]  # trains a network with some values and one seed


@dataclass(frozen=True)
class Trial:
    """One combination of hyperparameter values, and the result of training networks with it."""

    values: Values
    score: float | None  # mean validation metric over `scores`, or None if a training diverged
    parameters: int | None
    steps: int | None
    failed: str = ""  # reason for the divergence, or empty if no training diverged
    scores: tuple[float, ...] = ()  # validation metric of each trained seed
    pruned: bool = False  # whether the pruner ended the trial before its last seed


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
        attempt = partial(run_seed, cell, settings, folder)
        trials = search(settings["tune"], attempt, better)
    _write(plan, task, out, facts, trials, better)


def _write(
    plan: Path, task: Path, out: Path, facts: Facts, trials: list[Trial], better: int
) -> None:
    best = best_of(trials, better)
    result = {
        "plans": {**read_json(task)["plans"], "tune": plan.stem},
        "metric": facts.metric,
        "seeds": tuning_seeds(read_json(plan)["tune"]),
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


def best_of(trials: list[Trial], better: int) -> Trial:
    """The best trial that was neither pruned nor diverged; on a tie, the earliest.

    `better` is 1 if a higher score is better, and −1 if a lower score is better. Raises Diverged if
    every trial diverged. Raises UserError if the pruner ended every other trial.
    """
    good = [trial for trial in trials if trial.score is not None and not trial.pruned]
    if not good and any(trial.pruned for trial in trials):
        raise UserError(
            "the pruner ended every trial of the tuning before its last seed.\n"
            "Give `pruner` under 'tune' other settings, or remove it."
        )
    if not good:
        raise Diverged(f"every trial: {trials[0].failed}")
    return max(good, key=lambda trial: gain(trial, better))


def tuning_seeds(tune: Mapping[str, Any]) -> list[int]:
    """The seeds of every trial."""
    return [run_store.TUNING_SEED + place for place in range(tune["seeds"])]


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


def run_seed(
    cell: TrainingCell, settings: Mapping[str, Any], trials: Path, values: Values, seed: int
) -> Trial:
    """Train a network with the hyperparameters `values`, or load the finished network from disk."""
    folder = run_store.trial_folder(trials, values, settings["tune"]["budget"], seed)
    with run_store.locked(folder):
        if not run_store.is_intact(folder):
            config = resolve_settings(_trial_settings(settings, values), cell.facts, trials)
            train_seed(replace(cell, config=config), seed, folder)
    if failure := run_store.failure(folder):
        return Trial(values, None, None, None, failure)
    result = read_json(SeedPaths(folder).result)
    scores = result["scores"]
    score = scores[f"validation/{cell.facts.metric}"]
    return Trial(values, score, result["parameters"], scores["steps"], scores=(score,))


def run_trial(
    attempt: Attempt, values: Values, seeds: list[int], is_pruned: Callable[[int, float], bool]
) -> Trial:
    """Train one network per seed, and stop if a training diverges or the trial is pruned.

    `is_pruned(place, score)` receives the score of each seed but the last, with the seed's place.
    """
    scores: list[float] = []
    for place, seed in enumerate(seeds):
        trial = attempt(values, seed)
        if trial.score is None:
            return replace(trial, scores=tuple(scores))
        scores.append(trial.score)
        if place < len(seeds) - 1 and is_pruned(place, trial.score):
            break
    is_whole = len(scores) == len(seeds)
    return replace(trial, score=fmean(scores), scores=tuple(scores), pruned=not is_whole)


def gain(trial: Trial, better: int) -> float:
    """The score of a trial, with its sign chosen so that a higher gain is always better.

    `better` is 1 if a higher score is better, and −1 if a lower score is better. The gain of a
    trial that diverged is −∞.
    """
    return -math.inf if trial.score is None else better * trial.score


def search(tune: Mapping[str, Any], attempt: Attempt, better: int) -> list[Trial]:
    """Run all trials, and return them in the order in which they were run.

    Every combination of values is tried if `tune` sets no number of trials, or a number that is
    large enough for all combinations. If there are more combinations than trials, or if `tune`
    gives a range of values, Optuna draws one combination of values per trial.
    """
    points = grid(tune["values"])
    is_whole = points is not None and (tune["trials"] is None or tune["trials"] >= len(points))
    if points is not None and is_whole and tune["pruner"] is None:
        seeds = tuning_seeds(tune)
        return [run_trial(attempt, values, seeds, lambda *_: False) for values in points]
    return list(_by_optuna(tune, points, attempt, better, is_whole=is_whole))


def grid(space: Mapping[str, Any]) -> list[Values] | None:
    """All combinations of the values that `space` lists, with the last key varying fastest.

    The result is None if `space` gives a range of values for a key instead of a list.
    """
    if any(isinstance(choices, Mapping) for choices in space.values()):
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _by_optuna(
    tune: Mapping[str, Any],
    points: list[Values] | None,
    attempt: Attempt,
    better: int,
    *,
    is_whole: bool,
) -> Iterator[Trial]:
    """Run trials with combinations of values that Optuna draws, or with all `points` in order.

    A combination that Optuna draws again is not trained again, and does not count as a trial.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A person who names an experimental pruner has chosen it.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(
        study_name="tune",  # HyperbandPruner computes a trial's bracket from the name
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.NopPruner()
        if tune["pruner"] is None
        else instantiate(tune["pruner"]),
        direction="maximize",
    )
    for values in points if points and is_whole else []:
        study.enqueue_trial(_positions(tune["values"], values))
    tried: dict[str, Trial] = {}
    repeated = 0
    while len(tried) < (len(points) if points and is_whole else tune["trials"]):
        if points and repeated == PATIENCE:
            study.enqueue_trial(_positions(tune["values"], _first_untried(points, tried)))
        asked = study.ask()
        values = {key: _suggest(asked, key, choices) for key, choices in tune["values"].items()}
        name, repeated = json.dumps(values), repeated + 1
        if name not in tried:
            is_pruned = partial(_is_pruned, asked, better)
            tried[name], repeated = run_trial(attempt, values, tuning_seeds(tune), is_pruned), 0
            yield tried[name]
        if tried[name].pruned:
            study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(asked, gain(tried[name], better))


def _is_pruned(asked: Any, better: int, place: int, score: float) -> bool:
    """Whether the pruner ends a trial of Optuna after the seed at `place`, whose score is given."""
    asked.report(better * score, place)
    return bool(asked.should_prune())


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
