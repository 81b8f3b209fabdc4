"""Killed at any moment, and started again with one plain command: the same bytes.

Each kill is one SIGKILL, to Snakemake itself or to another process of the running study (worker,
job, client), at a moment drawn from a printed seed: any moment, or one while a seed trains. What it
leaves running goes on by itself; the next run waits for the seeds that it holds. After some kills
a model is edited, that study killed too, and the edit undone. `make soak` does two hundred kills,
this file alone twenty.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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


def soak(root: Path, kills: int) -> None:
    """Two projects side by side, each with half of the kills: a study mostly waits for imports."""
    seed = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(10**6)))
    print(f"moments drawn from SOAK_SEED={seed}")
    with ThreadPoolExecutor(2) as pool:
        halves = [
            pool.submit(soak_one, root / str(half), random.Random(f"{seed} {half}"), kills // 2)
            for half in range(2)
        ]
        hits = [hit for half in halves for hit in half.result()]
    assert len(hits) == kills
    assert any(hit.startswith("seed") for hit in hits)  # or the soak has soaked nothing


def soak_one(root: Path, draw: random.Random, kills: int) -> list[str]:
    """What each kill hit; every plain command after one ends in the same bytes."""
    project = Project.at(root, STUDY)
    started = time.monotonic()
    project.run()
    seconds = time.monotonic() - started
    wanted = project.contents()
    hits = []
    for number in range(kills):
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


def test_twenty_kills_change_nothing(tmp_path: Path):
    soak(tmp_path, 20)


@pytest.mark.soak
def test_two_hundred_kills_change_nothing(tmp_path: Path):
    soak(tmp_path, 200)
