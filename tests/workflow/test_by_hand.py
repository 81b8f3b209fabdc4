"""Runs by hand, beside each other, beside `lookback clean` and beside a study."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lookback.storage.atomic import read_json
from tests.workflow.projects import Project

SMALL = ("task.train=96", "task.validation=32", "task.test=48", "model.hidden_size=6")
SMALL += ("trainer.batch_size=16", "trainer.log_every=2")
SHORT = (*SMALL, "task.length=10", "trainer.max_epochs=3")


@contextmanager
def training(project: Project, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A run by hand in the background, from the moment at which it trains."""
    begun = len(list((project.root / "results/.runs").glob("*/*/journal.jsonl")))
    process = subprocess.Popen(
        [sys.executable, "-m", "lookback", "train", "task=adding", "model=gru", *arguments],
        cwd=project.root,
        env=project.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 120
    try:
        while len(list((project.root / "results/.runs").glob("*/*/journal.jsonl"))) == begun:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, "no training began"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_one_run_by_hand_is_the_study_s_own(finished):
    said = finished.lookback("train", "task=adding", "model=gru", "seed=1", *SHORT)
    (metrics,) = (finished.root / "results").glob("by-hand-*/adding/gru/metrics.json")
    assert str(metrics.parent.relative_to(finished.root)) in said
    in_study = read_json(finished.study / "adding/gru/metrics.json")
    assert read_json(metrics)["seeds"]["1"] == in_study["seeds"]["1"]
    assert "Did you mean 'gru'" in finished.lookback("train", "task=adding", "model=gur", status=2)


def test_clean_deletes_nothing_while_a_run_by_hand_trains(fresh):
    length = ("task.length=12", "trainer.max_epochs=400")
    with training(fresh, *SMALL, *length) as process:
        plans = fresh.made("results/.plan/*/*.yaml", "results/.runs/*/*")
        said = fresh.lookback("clean", status=2)
        assert "another lookback command uses the plans" in said
        assert plans <= fresh.made("results/.plan/*/*.yaml", "results/.runs/*/*")
        said = process.communicate()[0]
        assert process.returncode == 0, said
    fresh.lookback("clean")  # and afterwards the finished run is kept
    (metrics,) = (fresh.root / "results").glob("by-hand-*/adding/gru/metrics.json")
    assert list((fresh.root / "results/.runs").glob("*/seed=0/done.json"))
    assert metrics.exists()


def test_two_runs_by_hand_with_other_settings_do_not_meet(fresh):
    """While the first trains, the second prepares the task with another length, and finishes."""
    with training(fresh, *SMALL, "task.length=12", "trainer.max_epochs=400") as first:
        fresh.lookback("train", "task=adding", "model=gru", *SMALL[:-1], "task.length=14")
        said = first.communicate()[0]
        assert first.returncode == 0, said
    tasks = (fresh.root / "results").glob("by-hand-*/adding/task.json")
    assert sorted(read_json(path)["length"] for path in tasks) == [12, 14]
    assert len(list((fresh.root / "results").glob("by-hand-*/adding/gru/metrics.json"))) == 2


def test_a_study_is_planned_only_after_results_are_locked(finished):
    """A plan that was made before could be of results that the other run has changed since."""
    holder = (
        "import sys; from lookback.storage.lock import hold\n"
        "with hold(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder]
    with subprocess.Popen(
        command, cwd=finished.root, env=finished.env(), stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        before = finished.made("results/.plan/*/*.yaml")
        finished.edit("conf/study/small.yaml", "seeds: 2", "seeds: 3")
        said = finished.run(status=2)
        assert "another run is writing to results/" in said
        assert finished.made("results/.plan/*/*.yaml") == before
        process.stdin.close()
