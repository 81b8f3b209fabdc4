"""Training one cell: what is left, that a kill changes nothing, and that a lost seed is named."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from lookback.data import prepare
from lookback.errors import Mistake
from lookback.files import read_json, write_json
from lookback.tables import read_parquet
from lookback.training import module, store, train
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


def test_an_added_seed_is_the_only_one_trained(fresh):
    plan, task, cell = fresh("one", "gru")
    train.main(plan, task, [0, 1], cell)
    done = store.seed_folder(store.runs_folder(plan, task), 0) / "done.json"
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
    """SIGKILL of the training process at drawn moments; dropout on, so that every draw counts."""
    monkeypatch.setattr(module, "RESUME_EVERY", 0.0)
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
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert hits  # the first, at least, came before the end
    train.main(plan, task, [0, 1], cell)
    assert contents(cell) == wanted


def _train(plan: Path, task: Path, cell: Path) -> None:
    torch.set_num_threads(1)
    module.RESUME_EVERY = 0.0
    train.main(plan, task, [0, 1], cell)


def _journals(plan: Path, task: Path) -> list[Path]:
    return sorted(store.runs_folder(plan, task).glob("seed=*/journal.jsonl"))


def _in_training(plan: Path, task: Path) -> list[Path]:
    return [path for path in _journals(plan, task) if not store.done(path.parent)]


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
    monkeypatch.setattr(module, "RESUME_EVERY", 0.0)
    plan, task, cell = fresh("resumed", "gru")
    stop_at = 25  # of 40 steps: in the third epoch

    def stop(self, *_):
        if self.trainer.global_step == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.TrainingModule, "on_train_batch_end", stop, raising=False)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train.main(plan, task, [0], cell)
    train.main(plan, task, [0], cell)
    journal = store.journal(store.seed_folder(store.runs_folder(plan, task), 0))
    starts = [
        e["step"]
        for e in map(json.loads, journal.read_text().splitlines())
        if e.get("event") == "start"
    ]
    assert starts == [0, 20]


def test_a_loss_that_is_no_number_loses_that_seed_alone_and_says_so(fresh):
    plan, task, cell = fresh("lost", "rnn", "recipe.clip=null", "recipe.optimizer.lr=1e30")
    with pytest.raises(module.Diverged, match=r"seed 0: the loss became \S+ by step \d+.*seed 1"):
        train.main(plan, task, [0, 1], cell)
    assert not (cell / "metrics.json").exists()


def test_an_orphan_of_an_older_plan_leaves_a_cell_alone_and_keeps_its_seeds(fresh):
    plan, task, cell = fresh("orphan", "rnn")
    store.want(cell, "another")
    with pytest.raises(Mistake, match="under another plan since"):
        train.main(plan, task, [0], cell)
    assert not (cell / "metrics.json").exists()
    assert store.done(store.seed_folder(store.runs_folder(plan, task), 0))
    store.want(cell, plan.stem)
    train.main(plan, task, [0], cell)
    assert (cell / "metrics.json").exists()


def test_other_data_than_were_prepared_are_not_trained_on(fresh):
    plan, task, cell = fresh("other", "rnn")
    digests = read_json(task)["digest"]
    write_json(task, {**read_json(task), "digest": {**digests, "test": "0" * 16}})
    with pytest.raises(Mistake, match="the test split that is made here is not the one"):
        train.main(plan, task, [0], cell)
    assert not cell.exists() or not list(cell.glob("*.parquet"))


def test_without_a_validation_split_the_last_weights_are_kept(fresh):
    plan, task, cell = fresh("last", "lstm", "task.validation=0")
    train.main(plan, task, [0], cell)
    scores = read_json(cell / "metrics.json")["seeds"]["0"]
    assert scores["step"] == scores["steps"] == 40
    assert "validation/mse" not in scores


def test_another_preparation_to_the_same_end_keeps_the_seeds(fresh):
    plan, task, _ = fresh("prepared", "rnn")
    runs = store.runs_folder(plan, task)
    write_json(task, {**read_json(task), "plans": {"prepare": "another"}})
    assert store.runs_folder(plan, task) == runs
    write_json(task, {**read_json(task), "digest": {"train": "other data"}})
    assert store.runs_folder(plan, task) != runs
