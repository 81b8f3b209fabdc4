"""Killed at any moment, and started again with one plain command: the same bytes.

Each kill is one SIGKILL, to Snakemake itself or to another process of the running study (worker,
job, client), at a moment drawn from a printed seed: any moment, or one while a seed trains. What it
leaves running goes on by itself; the next run waits for the seeds that it holds. After some kills
a model is edited, that study killed too, and the edit undone. The commands `lookback clean`,
`lookback train` and `lookback track` are killed, too, beside a running study and after it.

This file alone does twenty kills of a study and four of other commands. `make soak` does two
hundred and twenty, in several sittings if need be: SOAK_SEED=… SOAK_RANGE=0:50 make soak does the
first fifty of each half. Each sitting adds its kills to bench/results/soak.json.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookback.storage.atomic import read_json
from tests.conftest import ROOT
from tests.workflow.projects import Project

STUDY = """# conf/study/small.yaml — does a kill change anything?
tasks:
  adding: {overrides: [task.length=10, task.train=96, task.validation=32, task.test=48]}
models: [gru]
seeds: 2
overrides: [model.hidden_size=6, trainer.batch_size=16, trainer.max_epochs=30, trainer.log_every=5]
probes: [gradient_flow]
explainers: [occlusion]
"""
EDIT = ("conf/model/gru.yaml", "layers: 1", "layers: 2")


def processes_of(session: int) -> list[int]:
    """The processes of a session, which the forked children stay in."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if os.getsid(int(path.name)) == session and _command(int(path.name)):
                    found.append(int(path.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
    return sorted(found)


def _command(pid: int) -> str:
    """What a process runs; empty for one that has ended and waits to be asked for."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def kill_one(session: int, draw: random.Random) -> str:
    """SIGKILL to a drawn process; what it was."""
    victims = processes_of(session)
    if not victims:
        return "nothing: it had ended"
    victim = session if draw.random() < 0.5 and session in victims else draw.choice(victims)
    try:
        words = _command(victim)
        os.kill(victim, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return "nothing: it had just ended"
    return words


def kill_once(project: Project, draw: random.Random, seconds: float) -> str:
    """Start the study and kill at a moment within `seconds`, or within its training; what it hit.

    Waits for Snakemake's end, not for what it leaves running: the next run meets that.
    """
    process = project.start(cores=draw.choice((1, 2)))
    moment = draw.uniform(0.0, seconds)
    if draw.random() < 0.5:
        wait_for_a_seed_in_training(project, process)
        moment = draw.uniform(0.0, 0.5)
    time.sleep(moment)
    trains = seeds_in_training(project)
    victim = kill_one(process.pid, draw)
    process.wait(timeout=120)
    process.stdout.close()
    return f"{f'seed {trains[0]} trains' if trains else 'nothing trains'}: {victim}"


def seeds_in_training(project: Project) -> list[str]:
    """The seeds that were begun and are not finished."""
    begun = (project.root / "results/.runs").glob("*/seed=*/journal.jsonl")
    return [path.parent.name[-1] for path in begun if not (path.parent / "done.json").exists()]


def wait_for_a_seed_in_training(project: Project, process: "subprocess.Popen[str]") -> None:
    """Until one is, or the study has ended: what an earlier kill left may have finished it."""
    while not seeds_in_training(project) and process.poll() is None:
        time.sleep(0.01)


def start_over(project: Project) -> None:
    """Leave no results, but for MLflow's store: its own kills are in tests/tracking."""
    for made in ("results/small", "results/.runs", ".snakemake"):
        shutil.rmtree(project.root / made, ignore_errors=True)


def drawn_seed() -> int:
    seed = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(10**6)))
    print(f"moments drawn from SOAK_SEED={seed}")
    return seed


def soak(root: Path, seed: int, numbers: range) -> list[str]:
    """Two projects side by side, each with these kills: a study mostly waits for imports."""
    with ThreadPoolExecutor(2) as pool:
        halves = [
            pool.submit(soak_one, root / str(half), f"{seed} {half}", numbers) for half in range(2)
        ]
        hits = [hit for half in halves for hit in half.result()]
    assert len(hits) == 2 * len(numbers)
    assert any(hit.startswith("seed") for hit in hits)  # or the soak has soaked nothing
    return hits


def soak_one(root: Path, seed: str, numbers: range) -> list[str]:
    """What each kill hit; every plain command after one ends in the same bytes."""
    project = Project.at(root, STUDY)
    started = time.monotonic()
    project.run()
    seconds = time.monotonic() - started
    wanted = project.contents()
    hits = []
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        start_over(project)
        hits.append(kill_once(project, draw, seconds))
        print(f"{root.name}: kill {number}, {hits[-1]}", flush=True)
        if draw.random() < 0.1:
            project.edit(*EDIT)
            print(f"  edited, {kill_once(project, draw, seconds)}", flush=True)
            project.edit(EDIT[0], *EDIT[:0:-1])
        project.run()
        assert project.contents() == wanted
    assert project.planned() == set(), project.run("-n")
    return hits


BY_HAND = ("train", "task=adding", "model=gru", "seed=7", "task.length=10", "task.train=96")
BY_HAND += ("task.validation=32", "task.test=48", "model.hidden_size=6", "trainer.batch_size=16")
COMMANDS = {"clean": ("clean",), "train": BY_HAND, "track": ("track", "study=small")}


def metrics_by_hand(project: Project) -> dict:
    (path,) = (project.root / "results").glob("by-hand-*/adding/gru/metrics.json")
    return read_json(path)


def tracked(project: Project) -> tuple[int, int]:
    """The number of runs in MLflow's store, and of the points of their learning curves.

    Times of a training that was started over differ, so results have several values.
    """
    points = "from metrics where key like 'train/%' or key like 'validation/%'"
    with sqlite3.connect(project.root / "results/mlflow.db") as store:
        runs = store.execute("select count(*) from runs").fetchone()[0]
        written = store.execute(f"select count(*) {points}").fetchone()[0]
        different = store.execute(
            f"select count(*) from (select distinct run_uuid, key, step {points})"
        ).fetchone()[0]
    assert written == different, "a point of a curve was written twice"
    return runs, written


def soak_commands(root: Path, seed: int, numbers: range) -> list[str]:
    """Kill a command beside a running study, or after it; both end as if nothing was killed."""
    project = Project.at(root, STUDY)
    project.run()
    seconds = {}
    for name, words in COMMANDS.items():
        started = time.monotonic()
        project.lookback(*words)
        seconds[name] = time.monotonic() - started
    wanted, by_hand, runs = project.contents(), metrics_by_hand(project), tracked(project)
    hits = []
    for number in numbers:
        draw = random.Random(f"{seed} commands {number}")
        name = draw.choice(sorted(COMMANDS))
        beside = draw.random() < 0.5
        if beside:
            start_over(project)
            study = project.start(cores=1)
            time.sleep(draw.uniform(0.0, 6.0))
        with subprocess.Popen(
            [sys.executable, "-m", "lookback", *COMMANDS[name]],
            cwd=project.root,
            env=project.env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(draw.uniform(0.0, seconds[name]))
            process.kill()
        hits.append(f"{name} {'beside' if beside else 'after'} the study")
        print(f"kill {number}: {hits[-1]}", flush=True)
        if beside:
            said = study.communicate(timeout=300)[0]
            assert study.returncode == 0, said
        project.run()
        assert project.contents() == wanted
        project.lookback(*BY_HAND)
        assert metrics_by_hand(project) == by_hand
    project.lookback("track", "study=small")
    assert tracked(project) == runs
    assert project.planned() == set(), project.run("-n")
    return hits


def record(kind: str, seed: int, numbers: range, hits: list[str]) -> None:
    """Add the kills of a sitting to bench/results/soak.json."""
    path = ROOT / "bench/results/soak.json"
    sittings = read_json(path) if path.exists() else []
    git = ("git", "-C", str(ROOT), "rev-parse", "HEAD")
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    kinds = Counter(_kind_of(hit) for hit in hits)
    sittings.append(
        {
            "what": kind,
            "commit": commit,
            "seed": seed,
            "range": [numbers.start, numbers.stop],
            "kills": len(hits),
            "hit": dict(sorted(kinds.items())),
        }
    )
    path.write_text(json.dumps(sittings, indent=1) + "\n")


def _kind_of(hit: str) -> str:
    """What a kill hit, without paths: «seed 1 trains: lookback train», «nothing trains: worker»."""
    moment, _, words = hit.partition(": ")
    if not words:
        return hit
    names = ("snakemake", "lookback.commands.worker", "-m lookback ")
    name = next((name for name in names if name in words), words.partition(" ")[0])
    return f"{'a seed trains' if moment.startswith('seed') else moment}: {name.strip()}"


def sitting(kills: int) -> range:
    """The numbers of the kills of this sitting, from SOAK_RANGE."""
    start, _, stop = os.environ.get("SOAK_RANGE", f"0:{kills}").partition(":")
    return range(int(start), min(int(stop), kills))


def test_twenty_kills_change_nothing(tmp_path: Path):
    soak(tmp_path, drawn_seed(), range(10))


def test_four_kills_of_other_commands_change_nothing(tmp_path: Path):
    soak_commands(tmp_path / "project", drawn_seed(), range(4))


@pytest.mark.soak
def test_two_hundred_kills_change_nothing(tmp_path: Path):
    seed, numbers = drawn_seed(), sitting(100)
    record("study", seed, numbers, soak(tmp_path, seed, numbers))


@pytest.mark.soak
def test_twenty_kills_of_other_commands_change_nothing(tmp_path: Path):
    seed, numbers = drawn_seed(), sitting(20)
    hits = soak_commands(tmp_path / "project", seed, numbers)
    record("clean, train, track", seed, numbers, hits)
