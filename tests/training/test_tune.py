"""Tuning: what is tried and chosen, on which split, and that a kill changes nothing."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from lookback.data import prepare
from lookback.data.adding import Adding
from lookback.errors import Diverged, UserError
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.training import train, tune
from lookback.training.tune import Trial, best_of, grid, search
from tests.training.small import shipped

LR, CLIP = "recipe.optimizer.lr", "recipe.clip"
RATES = {LR: [0.03, 0.001, 0.01]}


def asked(values: dict, trials: int | None = None, **more: Any) -> dict:
    """The settings `tune` of a study, as planning completes them."""
    given = {"values": values, "trials": trials, "budget": None, "seeds": 1, "pruner": None}
    return {**given, **more}


class Untested(Adding):
    """The adding problem; whoever asks for its test split while it is tuned fails."""

    def dataset(self, split):
        assert split != "test", "the test split was made"
        return super().dataset(split)


class Place:
    """A working directory with a prepared task and plans to tune and train by."""

    def __init__(self, folder: Path, model: str = "gru", match: dict | None = None, *more: str):
        config = shipped(model, *more)
        self.match = match
        self.config = {"task": config.task, "model": config.model}
        self.config |= {"recipe": config.recipe, "trainer": config.trainer, "match": match}
        prepared = folder / "prepare.yaml"
        write_json(prepared, {"stage": "prepare", "task": config.task})
        self.task = folder / "results/study/adding/task.json"
        prepare.main(prepared, self.task)
        self.cell = self.task.parent / model
        self.folder = folder

    def tune(
        self, values: dict, trials: int | None = None, steps: int | None = 12, **more: Any
    ) -> dict:
        budget = steps and {"steps": steps}
        said = asked(values, trials, budget=budget, **more)
        task = {**self.config["task"], "_target_": "tests.training.test_tune.Untested"}
        self.plan = self.folder / f"tune-{len(values)}-{trials}-{steps}.yaml"
        write_json(self.plan, {"stage": "tune", **self.config, "task": task, "tune": said})
        tune.main(self.plan, self.task, self.cell / "tune.json")
        return read_json(self.cell / "tune.json")

    def train(self, seeds: list[int]) -> None:
        self.train_plan = self.folder / "train.yaml"
        said = {"stage": "train", **self.config, "tuned_by": self.plan.stem}
        write_json(self.train_plan, said)
        train.main(self.train_plan, self.task, seeds, self.cell)


@pytest.fixture
def place(in_tmp: Path) -> Place:
    return Place(in_tmp)


def by_value(values: dict, seed: int) -> Trial:
    """A training that is best where both values are near 0.3."""
    return Trial(values, -sum(abs(it - 0.3) for it in values.values()), 1, 1)


def test_the_grid_is_tried_whole_and_the_best_of_an_independent_loop_is_chosen(place):
    """Each value trained by the train stage, alone, as a seed of its own: the same scores."""
    found = place.tune(RATES)
    assert [trial["values"] for trial in found["trials"]] == [{LR: rate} for rate in RATES[LR]]
    scores = {}
    for rate in RATES[LR]:
        config = run_store.with_values(place.config, {LR: rate, "trainer.max_steps": 12})
        plan, cell = place.folder / f"alone-{rate}.yaml", place.task.parent / f"gru-{rate}"
        write_json(plan, {"stage": "train", **config})
        train.main(plan, place.task, [run_store.TUNING_SEED], cell)
        scores[rate] = read_json(cell / "metrics.json")["seeds"][str(run_store.TUNING_SEED)][
            "validation/mse"
        ]
    assert [trial["score"] for trial in found["trials"]] == [scores[rate] for rate in RATES[LR]]
    assert found["chosen"] == {LR: min(scores, key=lambda rate: scores[rate])}
    assert found["trials"][found["best"]]["values"] == found["chosen"]


def test_the_cell_is_trained_with_what_was_chosen_and_says_so(place):
    chosen = place.tune({**RATES, CLIP: [0.5, None]})["chosen"]
    place.train([0])
    config = yaml.safe_load((place.cell / "config.yaml").read_text())
    assert config["recipe"]["optimizer"]["lr"] == chosen[LR]
    assert config["recipe"]["clip"] == chosen[CLIP]
    assert config["plans"]["tune"] == place.plan.stem


def test_the_same_choice_by_another_grid_costs_no_training(place):
    first = place.tune(RATES)
    place.train([0])
    done = next(Path("results/.runs").glob("*/seed=0/done.json"))
    before = done.stat().st_mtime_ns
    again = place.tune({LR: [*RATES[LR], 0.0001]}, trials=9)
    assert again["chosen"] == first["chosen"]
    place.train([0])
    assert done.stat().st_mtime_ns == before
    assert len(list(Path("results/.runs").glob("*/seed=0"))) == 1
    assert read_json(place.cell / "metrics.json")["plans"]["tune"] == place.plan.stem


def test_seeds_of_an_older_tuning_are_not_taken_for_the_new_one_s(place):
    place.tune(RATES)
    place.train([0])
    write_json(place.cell / "tune.json", {"plans": {"tune": "another"}, "chosen": {LR: 1.0}})
    assert run_store.runs_folder(place.train_plan, place.task, place.cell / "tune.json") is None
    with pytest.raises(UserError, match="was not made by the tune plan"):
        train.main(place.train_plan, place.task, [0], place.cell)


def test_a_tune_cut_short_anywhere_goes_on_to_the_same_bytes(place, monkeypatch):
    place.tune(RATES)
    whole = (place.cell / "tune.json").read_bytes()
    for stop in (0, 1, 2):
        for folder in Path("results/.runs").glob("*/trial=*"):
            (folder / "done.json").unlink()
            (folder / "journal.jsonl").unlink()
        (place.cell / "tune.json").unlink()
        trained = []

        def killed(cell, seed, folder, trained=trained, stop=stop):
            if len(trained) == stop:
                raise KeyboardInterrupt
            trained.append(folder)
            train.train_seed(cell, seed, folder)

        with monkeypatch.context() as patched:
            patched.setattr(tune, "train_seed", killed)
            with pytest.raises(KeyboardInterrupt):
                place.tune(RATES)
        assert not (place.cell / "tune.json").exists()
        left = len(list(Path("results/.runs").glob("*/trial=*/done.json")))
        assert left == stop  # what was finished is kept
        place.tune(RATES)
        assert (place.cell / "tune.json").read_bytes() == whole


def test_a_trial_that_diverged_is_counted_as_worst_and_kept(place, monkeypatch):
    place.config["recipe"] = {**place.config["recipe"], "clip": None}
    found = place.tune({LR: [1e30, 0.01]})
    assert [trial["score"] is None for trial in found["trials"]] == [True, False]
    assert "loss became" in found["trials"][0]["failed"]
    assert found["chosen"] == {LR: 0.01}
    monkeypatch.setattr(tune, "train_seed", None)  # nothing is trained again
    assert place.tune({LR: [1e30, 0.01]}) == found
    with pytest.raises(Diverged, match="every trial"):
        place.tune({LR: [1e30]}, trials=1)


def test_without_a_validation_split_there_is_nothing_to_choose_by(in_tmp):
    place = Place(in_tmp, "gru", None, "task.validation=0")
    with pytest.raises(UserError, match="no validation split"):
        place.tune(RATES)


def test_a_value_that_makes_no_network_is_said_before_any_trial(in_tmp):
    place = Place(in_tmp, "transformer", None, "model.heads=2")
    with pytest.raises(UserError, match="not a multiple of its 3 heads"):
        place.tune({"model.heads": [2, 3]})
    assert not list(Path("results/.runs").glob("*/trial=*"))


def test_every_trial_of_a_matched_study_is_matched(in_tmp):
    place = Place(in_tmp, "gru", {"params": 2000, "tolerance": 0.1})
    found = place.tune({"model.layers": [1, 2]})
    assert all(abs(trial["parameters"] - 2000) < 200 for trial in found["trials"])


def test_a_trial_is_as_long_as_a_run_where_nothing_else_is_said(place):
    assert place.tune({LR: [0.01]}, steps=None)["trials"][0]["steps"] == 4 * 10  # epochs × batches


def test_a_grid_is_every_combination_in_order():
    assert grid({"a": [1, 2], "b": [None, 3]}) == [
        {"a": 1, "b": None},
        {"a": 1, "b": 3},
        {"a": 2, "b": None},
        {"a": 2, "b": 3},
    ]
    assert grid({"a": [1], "b": {"low": 0.0, "high": 1.0, "log": False}}) is None


SPACE = {"a": [round(0.1 * i, 1) for i in range(8)], "b": [0.0, 0.3, 0.6]}
RANGES = {
    "a": {"low": 0.001, "high": 1.0, "log": True},
    "b": {"low": 0.0, "high": 1.0, "log": False},
}


@pytest.mark.parametrize("space", [SPACE, RANGES])
def test_draws_are_the_same_every_time_and_as_many_as_asked(space):
    first, second = (search(asked(space, 15), by_value, better=1) for _ in range(2))
    assert first == second
    assert len({json.dumps(trial.values) for trial in first}) == 15


def test_draws_are_optuna_s_own():
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), direction="maximize")

    def objective(trial):
        values = {
            "a": trial.suggest_float("a", 0.001, 1.0, log=True),
            "b": trial.suggest_float("b", 0.0, 1.0),
        }
        return by_value(values, 0).score

    study.optimize(objective, n_trials=12)
    assert [trial.values for trial in search(asked(RANGES, 12), by_value, better=1)] == [
        trial.params for trial in study.trials
    ]


def test_draws_from_a_list_are_never_twice_the_same_even_to_its_end():
    points = grid(SPACE)
    found = search(asked(SPACE, len(points) - 1), by_value, better=1)
    assert len({json.dumps(trial.values) for trial in found}) == len(points) - 1


def test_draws_come_nearer_to_the_best():
    """Of the last ten of forty the mean is better than of the first ten, which are at random."""
    found = search(asked(RANGES, 40), by_value, better=1)
    scores = [trial.score for trial in found]
    assert sum(scores[-10:]) > sum(scores[:10])


def test_a_draw_that_diverged_does_not_stop_the_others():
    def some(values, seed):
        failed = values["a"] > 0.35
        return Trial(values, None, None, None, "lost") if failed else by_value(values, seed)

    found = search(asked(SPACE, 14), some, better=1)
    assert len(found) == 14
    assert any(trial.failed for trial in found)


# The score of each value by seed: 1 is lucky once, 2 is steady, 0 is bad, 3 is nearly as good as 2.
BY_SEED = {0: [0.2, 0.1, 0.3], 1: [0.9, 0.1, 0.2], 2: [0.6, 0.7, 0.5], 3: [0.5, 0.6, 0.4]}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}


def lucky(trained: list) -> Any:
    """Trainings with the scores of BY_SEED, noted in `trained` as value and place of the seed."""

    def train_one(values: dict, seed: int) -> Trial:
        place = seed - run_store.TUNING_SEED
        trained.append((values["a"], place))
        return Trial(values, BY_SEED[values["a"]][place], 1, 1)

    return train_one


@pytest.mark.parametrize(("seeds", "chosen"), [(1, 1), (3, 2)])
def test_a_lucky_seed_wins_alone_and_not_among_three(seeds, chosen):
    trials = search(asked({"a": [0, 1, 2, 3]}, seeds=seeds), lucky([]), better=1)
    assert best_of(trials, better=1).values == {"a": chosen}
    assert [trial.score for trial in trials] == [
        pytest.approx(sum(scores[:seeds]) / seeds) for scores in BY_SEED.values()
    ]


def test_a_lower_score_may_be_better_over_three_seeds():
    def by_error(values, seed):
        trial = lucky([])(values, seed)
        return Trial(values, 1 - trial.score, 1, 1)

    trials = search(asked({"a": [0, 1, 2, 3]}, seeds=3), by_error, better=-1)
    assert best_of(trials, better=-1).values == {"a": 2}


@pytest.mark.parametrize("values", [[2, 0, 1, 3], [2, 3, 0, 1]])
def test_the_pruner_ends_the_trials_that_optuna_s_own_loop_ends(values):
    """The same scores by seed, reported in an objective of Optuna."""
    trained, told = [], []
    trials = search(asked({"a": values}, seeds=3, pruner=MEDIAN), lucky(trained), better=1)
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1)
    )

    def objective(trial):
        value = values[trial.number]
        for place, score in enumerate(BY_SEED[value]):
            told.append((value, place))
            trial.report(score, place)
            if place < 2 and trial.should_prune():
                raise optuna.TrialPruned
        return sum(BY_SEED[value]) / 3

    study.optimize(objective, n_trials=4)
    assert trained == told
    pruned = [trial.state is optuna.trial.TrialState.PRUNED for trial in study.trials]
    assert [trial.pruned for trial in trials] == pruned
    assert any(pruned)
    assert best_of(trials, better=1).values == {"a": 2}


def test_a_trial_that_was_pruned_cannot_be_chosen():
    pruned = Trial({"a": 1}, 0.9, 1, 1, scores=(0.9,), pruned=True)
    whole = Trial({"a": 2}, 0.6, 1, 1, scores=(0.6, 0.6))
    assert best_of([pruned, whole], better=1) == whole
    with pytest.raises(UserError, match="the pruner ended every trial"):
        best_of([pruned], better=1)


def test_a_trial_that_diverges_with_one_seed_has_diverged():
    def second_diverges(values, seed):
        is_lost = values["a"] == 2 and seed > run_store.TUNING_SEED
        return Trial(values, None, None, None, "lost") if is_lost else lucky([])(values, seed)

    trials = search(asked({"a": [0, 2]}, seeds=3), second_diverges, better=1)
    assert (trials[1].score, trials[1].failed, trials[1].scores) == (None, "lost", (0.6,))
    assert best_of(trials, better=1).values == {"a": 0}


@pytest.mark.parametrize(
    "pruner",
    [
        {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "max_resource": 3},
        {"_target_": "optuna.pruners.SuccessiveHalvingPruner"},
        {"_target_": "optuna.pruners.PercentilePruner", "percentile": 25.0},
        {"_target_": "optuna.pruners.WilcoxonPruner", "p_threshold": 0.2},
    ],
)
def test_a_search_with_any_pruner_is_the_same_every_time(pruner):
    def by_both(values, seed):
        return Trial(values, by_value(values, seed).score - 0.1 * (seed % 3), 1, 1)

    settings = asked(RANGES, 12, seeds=3, pruner=pruner)
    first, second = (search(settings, by_both, better=1) for _ in range(2))
    assert first == second


def test_trials_of_several_seeds_go_on_after_a_kill_to_the_same_bytes(place, monkeypatch):
    """Pruning decides by scores on the disk, so a restart prunes what the first run pruned."""
    settings = {"seeds": 3, "pruner": {**MEDIAN, "n_startup_trials": 1}}
    found = place.tune({LR: [0.01, 1e-6, 0.03]}, **settings)
    whole = (place.cell / "tune.json").read_bytes()
    assert found["seeds"] == [10_000, 10_001, 10_002]
    assert [len(trial["scores"]) for trial in found["trials"]] == [3, 1, 3]
    assert [trial["pruned"] for trial in found["trials"]] == [False, True, False]
    best = found["trials"][found["best"]]
    assert best["score"] == pytest.approx(sum(best["scores"]) / 3)
    assert len(set(best["scores"])) == 3
    done = sorted(Path("results/.runs").glob("*/trial=*/done.json"))
    assert len(done) == 7  # not nine: a pruned trial trains no more seeds
    for count in (0, 4):
        for path in done[count:]:
            path.unlink()
        (place.cell / "tune.json").unlink()
        place.tune({LR: [0.01, 1e-6, 0.03]}, **settings)
        assert (place.cell / "tune.json").read_bytes() == whole
    monkeypatch.setattr(tune, "train_seed", None)  # one seed of each trial is there already
    assert place.tune({LR: [0.01, 1e-6]})["seeds"] == [10_000]
