"""Training one cell: what is left, that a kill changes nothing, and that a lost seed is named."""

import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lookback.data import prepare
from lookback.data.content import digest_of
from lookback.data.fresh import FreshSequences
from lookback.data.generated import GeneratedTask
from lookback.data.task import Facts
from lookback.errors import Diverged, UserError
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import SeedPaths
from lookback.storage.tables import read_parquet
from lookback.training import callbacks, train
from lookback.training.divergence import require_sound
from lookback.training.evaluate import Scores
from lookback.training.run import load_runs
from tests.training.small import shipped

SAME = ("history.parquet", "metrics.json", "predictions.parquet", "config.yaml")


def plan_of(folder: Path, model: str, *overrides: str) -> tuple[Path, Path]:
    """A train plan and the task.json it needs."""
    config = shipped(model, *overrides)
    prepared, plan = folder / "prepare.yaml", folder / "train.yaml"
    write_json(prepared, {"stage": "prepare", "task": config.task})
    body = {"model": config.model, "recipe": config.recipe, "trainer": config.trainer}
    write_json(plan, {"stage": "train", "task": config.task, **body})
    task = folder / "results" / "study" / "adding" / "task.json"
    prepare.main(prepared, task)
    return plan, task


def contents(cell: Path) -> dict[str, bytes]:
    return {name: (cell / name).read_bytes() for name in SAME}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Working directories, each as empty as a new machine's, where the same plan is trained."""

    def enter(name: str, model: str, *overrides: str) -> tuple[Path, Path, Path]:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        plan, task = plan_of(folder, model, *overrides)
        return plan, task, task.parent / model

    return enter


def stop_in_the_third_epoch(monkeypatch, plan: Path, task: Path, seed: int, cell: Path) -> None:
    """Train a seed until it is interrupted there; a resume state of every validation is left."""

    def stop(self, *_):
        if self.step >= 20:  # 10 steps an epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks, "RESUME_EVERY", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(train.TrainingModule, "on_train_batch_start", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            train.main(plan, task, [seed], cell)


def test_an_added_seed_is_the_only_one_trained(fresh):
    plan, task, cell = fresh("one", "gru")
    train.main(plan, task, [0, 1], cell)
    done = run_store.seed_folder(run_store.runs_folder(plan, task), 0) / "done.json"
    before = done.stat().st_mtime_ns
    first = read_parquet(cell / "history.parquet")
    train.main(plan, task, [0, 1, 2], cell)
    assert done.stat().st_mtime_ns == before
    both = read_parquet(cell / "history.parquet")
    assert both[both.seed < 2].reset_index(drop=True).equals(first)
    assert set(both.seed) == {0, 1, 2}
    assert sorted(path.name for path in (cell / "checkpoints").iterdir()) == [
        "seed=0.ckpt",
        "seed=1.ckpt",
        "seed=2.ckpt",
    ]


@pytest.mark.parametrize("name", ["best.ckpt", "journal.jsonl", "result.json", "done.json"])
@pytest.mark.parametrize("damage", ["emptied", "zeroed", "deleted"])
def test_a_finished_seed_with_a_damaged_file_is_trained_again(fresh, name, damage):
    """A power cut can leave an empty file, or a file of the right size that is full of zeros."""
    plan, task, cell = fresh("damaged", "gru")
    train.main(plan, task, [0, 1], cell)
    whole = contents(cell)
    folder = run_store.seed_folder(run_store.runs_folder(plan, task), 0)
    other = run_store.seed_folder(run_store.runs_folder(plan, task), 1)
    kept = SeedPaths(other).done.stat().st_mtime_ns
    file = folder / name
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "emptied" else bytes(file.stat().st_size))
    assert not run_store.is_intact(folder)
    train.main(plan, task, [0, 1], cell)
    assert contents(cell) == whole
    assert SeedPaths(other).done.stat().st_mtime_ns == kept


def test_a_journal_that_lost_entries_before_the_resume_state_starts_the_seed_again(
    fresh, monkeypatch
):
    plan, task, cell = fresh("whole", "gru")
    train.main(plan, task, [0], cell)
    whole = read_parquet(cell / "history.parquet")
    plan, task, cell = fresh("lossy", "gru")
    stop_in_the_third_epoch(monkeypatch, plan, task, 0, cell)
    journal = SeedPaths(run_store.seed_folder(run_store.runs_folder(plan, task), 0)).journal
    journal.write_bytes(b"")
    train.main(plan, task, [0], cell)
    assert read_parquet(cell / "history.parquet").equals(whole)


def test_a_seed_is_the_same_alone_and_after_others(fresh):
    plan, task, cell = fresh("alone", "attention")
    train.main(plan, task, [1], cell)
    alone = read_parquet(cell / "predictions.parquet")
    plan, task, cell = fresh("after", "attention")
    train.main(plan, task, [0, 1], cell)
    after = read_parquet(cell / "predictions.parquet")
    assert after[after.seed == 1].reset_index(drop=True).equals(alone)


def test_the_weights_kept_are_those_with_the_best_validation_metric(fresh):
    plan, task, cell = fresh("best", "gru")
    train.main(plan, task, [0], cell)
    history = read_parquet(cell / "history.parquet")
    validated = history[(history.split == "validation") & (history.metric == "mse")]
    scores = read_json(cell / "metrics.json")["seeds"]["0"]
    best = validated.loc[validated.value.idxmin()]
    assert scores["step"] == best.step
    assert scores["validation/mse"] == best.value
    predicted = read_parquet(cell / "predictions.parquet")
    error = ((predicted.target - predicted.prediction) ** 2).mean()
    assert scores["test/mse"] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_a_run_killed_at_any_moment_ends_in_the_same_bytes(fresh, monkeypatch, model):
    """SIGKILL or SIGTERM at drawn moments; dropout on, so that every draw counts."""
    monkeypatch.setattr(callbacks, "RESUME_EVERY", 0.0)
    dropout = ["model.layers=2", "model.dropout=0.3"]
    plan, task, cell = fresh("whole", model, *dropout)
    train.main(plan, task, [0, 1], cell)
    wanted = contents(cell)

    seconds = _seconds_of_training(plan, task)
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn from seed {seed}")
    draw = random.Random(seed)
    plan, task, cell = fresh("killed", model, *dropout)
    context = multiprocessing.get_context("spawn")
    hits = 0
    for _ in range(3):
        process = context.Process(target=_train, args=(plan, task, cell))
        process.start()
        _wait_for_training(plan, task, process)
        time.sleep(draw.uniform(0.0, seconds / 4))
        hits += bool(_in_training(plan, task))
        os.kill(process.pid, draw.choice([signal.SIGKILL, signal.SIGTERM]))
        process.join()
    assert hits  # the first, at least, came before the end
    train.main(plan, task, [0, 1], cell)
    assert contents(cell) == wanted


def _train(plan: Path, task: Path, cell: Path) -> None:
    torch.set_num_threads(1)
    callbacks.RESUME_EVERY = 0.0
    train.main(plan, task, [0, 1], cell)


def _journals(plan: Path, task: Path) -> list[Path]:
    return sorted(run_store.runs_folder(plan, task).glob("seed=*/journal.jsonl"))


def _in_training(plan: Path, task: Path) -> list[Path]:
    return [path for path in _journals(plan, task) if not run_store.is_finished(path.parent)]


def _seconds_of_training(plan: Path, task: Path) -> float:
    times = [json.loads(line)["time"] for j in _journals(plan, task) for line in j.open()]
    return max(times) - min(times)


def _wait_for_training(plan: Path, task: Path, process) -> None:
    """Until the process has opened a journal, or has found that nothing is left to train."""
    before = {path: path.stat().st_ino for path in _journals(plan, task)}
    until = time.monotonic() + 120
    while {path: path.stat().st_ino for path in _journals(plan, task)} == before:
        if process.exitcode is not None:
            return
        assert time.monotonic() < until, "no training began"
        time.sleep(0.002)


def test_a_resumed_run_goes_on_where_it_was_and_does_not_begin_again(fresh, monkeypatch):
    monkeypatch.setattr(callbacks, "RESUME_EVERY", 0.0)
    plan, task, cell = fresh("resumed", "gru")
    stop_at = 24  # of 40 steps

    def stop(self, *_):
        if self.step == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.TrainingModule, "on_train_batch_end", stop, raising=False)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train.main(plan, task, [0], cell)
    train.main(plan, task, [0], cell)
    journal = SeedPaths(run_store.seed_folder(run_store.runs_folder(plan, task), 0)).journal
    starts = [
        e["step"]
        for e in map(json.loads, journal.read_text().splitlines())
        if e.get("event") == "start"
    ]
    assert starts == [0, stop_at]  # in the middle of the third epoch


@pytest.mark.parametrize(
    ("trainer", "wanted"),
    [
        (["trainer.max_epochs=4"], list(range(2, 41, 2))),
        (["trainer.max_steps=23"], list(range(1, 24))),
        (["trainer.max_epochs=2", "trainer.batch_size=200"], [1, 2]),
        (["trainer.validate_every=7"], [7, 14, 21, 28, 35, 40]),
    ],
)
def test_validations_come_every_so_many_steps_whatever_the_epoch(fresh, trainer, wanted):
    plan, task, cell = fresh("one", "gru", *trainer)
    train.main(plan, task, [0], cell)
    history = read_parquet(cell / "history.parquet")
    assert sorted(set(history.step[history.split == "validation"])) == wanted


def test_the_interval_of_validations_changes_no_weight(fresh):
    last = ["recipe.select=last", "model.layers=2", "model.dropout=0.3"]
    weights = []
    for every in (3, 40):
        plan, task, cell = fresh(f"every{every}", "lstm", *last, f"trainer.validate_every={every}")
        train.main(plan, task, [0], cell)
        weights.append(torch.load(cell / "checkpoints" / "seed=0.ckpt", weights_only=True))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_terminated_run_loses_at_most_the_steps_since_the_last_validation(fresh):
    """No 10 seconds have passed, so nothing was saved before SIGTERM."""
    plan, task, cell = fresh("ended", "gru", "trainer.validate_every=7")

    def end(self, *_):
        if self.step == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train.TrainingModule, "on_train_batch_end", end, raising=False)
        with pytest.raises(KeyboardInterrupt):
            train.main(plan, task, [0], cell)
    seed = SeedPaths(run_store.seed_folder(run_store.runs_folder(plan, task), 0))
    assert train._resume_state(seed)["step"] == 14


EXPLODES = ("recipe.clip=null", "recipe.optimizer.lr=1e30")


def test_a_cell_of_which_every_seed_diverges_is_a_hole_and_no_seed_is_trained_again(fresh):
    plan, task, cell = fresh("lost", "rnn", *EXPLODES)
    reason = (
        r"the loss became \S+ at step \d+, after an update of learning rate 2.5e\+29 and gradient"
    )
    with pytest.raises(Diverged, match=f"seed 0: {reason}.*seed 1: {reason}"):
        train.main(plan, task, [0, 1], cell)
    assert not (cell / "metrics.json").exists()
    journal = SeedPaths(run_store.seed_folder(run_store.runs_folder(plan, task), 0)).journal
    before = journal.read_bytes()
    assert json.loads(before.splitlines()[-1])["event"] == "failed"
    with pytest.raises(Diverged, match=reason):
        train.main(plan, task, [0, 1], cell)
    assert journal.read_bytes() == before


def test_a_seed_that_explodes_to_a_finite_error_is_named_like_one_that_diverged(fresh):
    """At a learning rate of 30 the answers are in the tens or more, the targets between 0 and 2."""
    settings = ("recipe.optimizer.lr=30", "recipe.schedule.shape=constant", "recipe.select=last")
    plan, task, cell = fresh("exploded", "rnn", *settings)
    with pytest.raises(
        Diverged, match=r"seed 0: the \w+ error of the selected weights is .* times"
    ):
        train.main(plan, task, [0], cell)


@pytest.mark.parametrize(
    ("metric", "score", "is_sound"),
    [
        ("mse", 2 * 0.5, True),  # targets repeated at random
        ("mse", 99 * 0.5, True),
        ("mse", 101 * 0.5, False),
        ("mse", torch.inf, False),
        ("mse", torch.nan, False),
        ("accuracy", 101 * 0.5, True),  # a cross-entropy of 50 nats: very sure, and wrong
        ("accuracy", torch.nan, False),
    ],
)
def test_a_squared_error_far_above_the_baseline_is_a_failure(metric, score, is_sound):
    kind = "value" if metric == "mse" else "class"
    facts = Facts(kind, False, 1, 4, 3, metric, 0.5, "constant", {"test": 1})
    scores = Scores(score, score if metric == "mse" else 0.2)
    if is_sound:
        require_sound(scores, "test", facts)
    else:
        with pytest.raises(Diverged, match=r"the test (loss|error) of the selected weights"):
            require_sound(scores, "test", facts)


@pytest.fixture
def poison(monkeypatch):
    """One batch without a number, of one seed, at one step."""

    def at(*where: int) -> None:
        class Poisoned(train.Batches):
            def __iter__(self):
                place = itertools.count(self.step())
                for window in super().__iter__():
                    batches = list(window)
                    for batch in batches:
                        if (self.seed, next(place)) == where:
                            batch.inputs.fill_(torch.nan)
                    yield iter(batches)

        monkeypatch.setattr(train, "Batches", Poisoned)

    return at


def test_a_seed_that_diverges_is_named_by_its_step_and_the_others_make_the_cell(fresh, poison):
    poison(1, 13)
    plan, task, cell = fresh("two", "gru")
    train.main(plan, task, [0, 1, 2], cell)
    metrics = read_json(cell / "metrics.json")
    assert set(metrics["seeds"]) == {"0", "2"}
    reason = metrics["failed"]["1"]
    assert reason.startswith(
        "the loss became nan at step 14, after an update of learning rate 0.00"
    )
    assert 0 < float(reason.rpartition("gradient norm ")[2]) < 100
    for name in ("history.parquet", "predictions.parquet"):
        assert set(read_parquet(cell / name).seed) == {0, 2}
    assert {path.name for path in (cell / "checkpoints").iterdir()} == {
        "seed=0.ckpt",
        "seed=2.ckpt",
    }
    kept = contents(cell)
    train.main(plan, task, [0, 1, 2], cell)
    assert contents(cell) == kept


def test_a_seed_that_diverges_at_its_first_step_had_no_update_to_blame(fresh, poison):
    poison(0, 0)
    plan, task, cell = fresh("first", "gru")
    with pytest.raises(Diverged, match="became nan at step 1, before any update"):
        train.main(plan, task, [0], cell)


def test_a_seed_that_diverges_after_a_kill_says_the_same(fresh, poison, monkeypatch):
    """The update before the bad step lies before the kill: the resume state knows it."""
    poison(1, 20)
    plan, task, cell = fresh("straight", "gru")
    with pytest.raises(Diverged, match="became nan at step 21, after") as wanted:
        train.main(plan, task, [1], cell)
    plan, task, cell = fresh("killed", "gru")
    stop_in_the_third_epoch(monkeypatch, plan, task, 1, cell)
    with pytest.raises(Diverged) as found:
        train.main(plan, task, [1], cell)
    assert str(found.value) == str(wanted.value)


def test_a_training_ends_once_validation_is_no_better_for_as_long_as_patience_says(
    fresh, monkeypatch
):
    monkeypatch.setattr(callbacks, "RESUME_EVERY", 0.0)
    impatient = ["recipe.early_stopping={patience: 2}", "recipe.optimizer.lr=0.05"]
    impatient += ["trainer.max_epochs=40", "recipe.schedule.shape=constant"]
    impatient += ["trainer.validate_every=7"]
    plan, task, cell = fresh("straight", "gru", *impatient)
    train.main(plan, task, [0], cell)
    wanted = contents(cell)
    history = read_parquet(cell / "history.parquet")
    reached = history[(history.split == "validation") & (history.metric == "mse")]
    values = reached.value.to_list()
    stale = [value >= min(values[: at + 1]) for at, value in enumerate(values[1:])]
    assert stale[-2:] == [True, True]
    assert not any(one and other for one, other in itertools.pairwise(stale[:-1]))
    scores = read_json(cell / "metrics.json")["seeds"]["0"]
    assert scores["steps"] == reached.step.max() == 7 * len(values) < 400
    assert scores["step"] == scores["steps"] - 14

    def stop(self, *_):  # after every validation anew: the count of stale ones must survive
        if self.step > (self.resumed or {"step": 0})["step"] and self.step % 7 == 0:
            raise KeyboardInterrupt

    plan, task, cell = fresh("killed", "gru", *impatient)
    with monkeypatch.context() as patched:
        patched.setattr(train.TrainingModule, "on_train_batch_start", stop, raising=False)
        for _ in values[1:]:
            with pytest.raises(KeyboardInterrupt):
                train.main(plan, task, [0], cell)
        train.main(plan, task, [0], cell)
    assert contents(cell) == wanted


def test_a_resume_state_that_cannot_be_read_starts_that_seed_anew(fresh, monkeypatch, capsys):
    plan, task, cell = fresh("whole", "gru")
    train.main(plan, task, [0], cell)
    wanted = contents(cell)
    plan, task, cell = fresh("cut", "gru")
    stop_in_the_third_epoch(monkeypatch, plan, task, 0, cell)
    seed = SeedPaths(run_store.seed_folder(run_store.runs_folder(plan, task), 0))
    for size in (seed.resume.stat().st_size // 2, 0):
        seed.resume.write_bytes(seed.resume.read_bytes()[:size])
        assert train._resume_state(seed) is None
    train.main(plan, task, [0], cell)
    assert "resume.ckpt cannot be read" in capsys.readouterr().out
    assert contents(cell) == wanted


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("recipe.label_smoothing=0.1",), r"no label.*recipe\.label_smoothing=0"),
        (("recipe.early_stopping={patience: 3}", "task.validation=0"), "validation split.*empty"),
    ],
)
def test_a_recipe_that_a_task_cannot_have_is_a_mistake_before_the_first_step(
    fresh, overrides, said
):
    plan, task, cell = fresh("mistaken", "rnn", *overrides)
    with pytest.raises(UserError, match=said):
        train.main(plan, task, [0], cell)


def test_an_orphan_of_an_older_plan_leaves_a_cell_alone_and_keeps_its_seeds(fresh):
    plan, task, cell = fresh("orphan", "rnn")
    run_store.set_wanted(cell, "another")
    with pytest.raises(UserError, match="another plan was started"):
        train.main(plan, task, [0], cell)
    assert not (cell / "metrics.json").exists()
    assert run_store.is_finished(run_store.seed_folder(run_store.runs_folder(plan, task), 0))
    run_store.set_wanted(cell, plan.stem)
    train.main(plan, task, [0], cell)
    assert (cell / "metrics.json").exists()


def test_other_data_than_were_prepared_are_not_trained_on(fresh):
    plan, task, cell = fresh("other", "rnn")
    digests = read_json(task)["digest"]
    write_json(task, {**read_json(task), "digest": {**digests, "test": "0" * 16}})
    with pytest.raises(UserError, match="the test split on this machine differs"):
        train.main(plan, task, [0], cell)
    assert not cell.exists() or not list(cell.glob("*.parquet"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++; none here")
def test_each_seed_trains_on_its_own_draw_and_answers_the_same_test_sequences(fresh):
    """A seed alone, or after another, has the numbers of a task with this seed for train."""
    plan, task, cell = fresh("per run", "gru", "task.seed=per_run")
    train.main(plan, task, [0, 1], cell)
    runs = list(load_runs(cell))
    drawn = [digest_of(run.dataset("train")) for run in runs]
    assert len(set(drawn)) == 2
    assert [run.digests["train"] for run in runs] == drawn
    assert len({digest_of(run.dataset("test")) for run in runs}) == 1
    targets = read_parquet(cell / "predictions.parquet").pivot(columns="seed", index="sequence")
    assert (targets["target", 0] == targets["target", 1]).all()
    per_run = read_parquet(cell / "history.parquet")

    plan, task, cell = fresh("one draw", "gru", "task.seed=0")
    train.main(plan, task, [0, 1], cell)
    shared = read_parquet(cell / "history.parquet")
    for seed, is_same in ((0, True), (1, False)):  # run 0 draws what the seed 0 of the task draws
        values = (frame[frame.seed == seed]["value"].tolist() for frame in (per_run, shared))
        assert (next(values) == next(values)) == is_same


def test_a_probe_of_a_run_refuses_other_train_sequences_than_the_run_was_trained_on(fresh):
    plan, task, cell = fresh("per run", "gru", "task.seed=per_run")
    train.main(plan, task, [1], cell)
    (run,) = load_runs(cell)
    assert run.task(length=20).dataset("train").inputs.shape[1] == 20
    with pytest.raises(UserError, match="train split on this machine differs"):
        replace(run, seed=2).dataset("train")


def test_fresh_sequences_are_trained_on_step_by_step_and_a_killed_run_ends_in_the_same_bytes(
    fresh, monkeypatch
):
    settings = ("task.fresh=true", "task.seed=per_run")
    plan, task, cell = fresh("whole", "gru", *settings)
    seen, batches = [], FreshSequences.train_batch

    def recorded(self, step, index):
        batch = batches(self, step, index)
        seen.append((step, batch.inputs.numpy().tobytes()))
        return batch

    with monkeypatch.context() as patched:
        patched.setattr(FreshSequences, "train_batch", recorded)
        train.main(plan, task, [1], cell)
    assert [step for step, _ in seen] == list(range(40))  # 4 epochs of 10 batches
    assert len({inputs for _, inputs in seen}) == 40
    whole = contents(cell)

    plan, task, cell = fresh("killed", "gru", *settings)
    stop_in_the_third_epoch(monkeypatch, plan, task, 1, cell)
    train.main(plan, task, [1], cell)
    assert contents(cell) == whole
    (run,) = load_runs(cell)
    assert len(run.dataset("train")) == 160  # a sample, for the background of an explainer


def test_a_fresh_training_does_not_draw_the_train_split(fresh, monkeypatch):
    plan, task, cell = fresh("lazy", "gru", "task.fresh=true")
    splits, drawn = [], GeneratedTask._drawn
    monkeypatch.setattr(
        GeneratedTask, "_drawn", lambda self, split: splits.append(split) or drawn(self, split)
    )
    train.main(plan, task, [0], cell)
    assert splits == ["test", "validation"]


def test_a_compiled_network_learns_as_the_plain_one(fresh):
    """In a process of its own: the shape checks of this one cannot be compiled."""
    predictions = []
    for setting in ("false", "true"):
        plan, task, cell = fresh(setting, "transformer", f"trainer.compile={setting}")
        process = multiprocessing.get_context("spawn").Process(
            target=_train, args=(plan, task, cell)
        )
        process.start()
        process.join()
        predictions.append(read_parquet(cell / "predictions.parquet").prediction)
    assert np.allclose(*predictions, atol=1e-3)
    assert not np.array_equal(*predictions)  # or nothing was compiled


def test_bfloat16_learns_nearly_as_float32(fresh):
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        plan, task, cell = fresh(precision, "gru", f"trainer.precision={precision}")
        train.main(plan, task, [0], cell)
        losses[precision] = read_json(cell / "metrics.json")["seeds"]["0"]["test/mse"]
        weights = torch.load(cell / "checkpoints" / "seed=0.ckpt", weights_only=True)
        assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
    assert losses["bf16-mixed"] != losses["32-true"]


def test_without_a_validation_split_the_last_weights_are_kept(fresh):
    plan, task, cell = fresh("last", "lstm", "task.validation=0")
    train.main(plan, task, [0], cell)
    scores = read_json(cell / "metrics.json")["seeds"]["0"]
    assert scores["step"] == scores["steps"] == 40
    assert "validation/mse" not in scores


def test_another_preparation_to_the_same_end_keeps_the_seeds(fresh):
    plan, task, _ = fresh("prepared", "rnn")
    runs = run_store.runs_folder(plan, task)
    write_json(task, {**read_json(task), "plans": {"prepare": "another"}})
    assert run_store.runs_folder(plan, task) == runs
    write_json(task, {**read_json(task), "digest": {"train": "other data"}})
    assert run_store.runs_folder(plan, task) != runs
