"""Reruns are exact: none missed, and none needless but those that edits.yaml names.

For each edit the study `tiny` is planned, and run from nothing beside the unedited one. A job whose
results differ must be planned; a job that is planned must have results that differ.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.projects import Project

HERE = Path(__file__).parent
EDITS = yaml.safe_load((HERE / "edits.yaml").read_text())
TINY = """# conf/study/tiny.yaml — what does it depend on?
tasks:
  adding: {overrides: [task.length=8, task.train=32, task.validation=16, task.test=16]}
  digits_rows: {overrides: [task.validation=16, task.test=32]}
models:
  gru:
  attention:
  transformer: {overrides: [model.layers=1, model.heads=2, model.feedforward=8]}
seeds: 2
overrides: [model.hidden_size=4, trainer.batch_size=16, trainer.max_steps=4, trainer.log_every=2]
probes: [gradient_flow]
explainers: [integrated_gradients, occlusion]
"""
# Faults planted in the planner; an edit; and a job that is then missed, or needless.
FAULTS = {
    "blind to a module": (
        "ast.parse(path.read_bytes())",
        'ast.parse(b"" if path.stem == "recurrent" else path.read_bytes())',
        ("the base of recurrent models", "missed", "train adding/gru"),
    ),
    "blind to imports": (
        "sorted(graph.find_upstream_modules(module))",
        "[]",
        ("the base of recurrent models", "missed", "train adding/gru"),
    ),
    "blind to constants": (
        "ast.dump(tree)",
        "str([type(node) for node in ast.walk(tree)])",
        ("the share of deleted steps", "missed", "explain adding/gru occlusion"),
    ),
    "not blind to comments": (
        "ast.dump(tree)",
        "path.read_bytes()",
        ("comments, blank lines, quotes and line breaks", "needless", "train adding/gru"),
    ),
}
BASE = "unedited"
WHOLE_STUDY = {"summarise", "report", "track"}


@dataclass(frozen=True)
class Outcome:
    """What is planned for a project, and what a run from nothing finds, by job."""

    planned: dict[str, str]
    found: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """The jobs that an edit should have planned, and those that it need not have."""

    changed: set[str]
    missed: set[str]
    needless: set[str]


def verdict(base: Outcome, edited: Outcome) -> Verdict:
    """Compare what an edit plans with what it changes."""
    own = {job for job, plan in edited.planned.items() if base.planned.get(job) != plan}
    changed = {job for job, it in edited.found.items() if base.found.get(job) != it}
    # The plan of a whole study names all other plans, so it counts only where it differs alone.
    judged = own - WHOLE_STUDY or own
    return Verdict(changed, changed - rerun(own, edited.planned), judged - changed)


def rerun(own: set[str], jobs: Iterable[str]) -> set[str]:
    """The jobs `own` and all that come after one of them, as Snakemake goes on."""
    found = set(own)
    for job in jobs:  # in the order of the flow
        if upstream(job, jobs) & found:
            found.add(job)
    return found


def upstream(job: str, jobs: Iterable[str]) -> set[str]:
    """The jobs whose results a job reads."""
    stage, _, name = job.partition(" ")
    cell = name.partition(" ")[0]
    task = cell.partition("/")[0]
    if stage == "prepare":
        return {"download digits"} if name.startswith("digits") else set()
    if stage == "train":
        return {f"prepare {task}"}
    if stage in ("probe", "explain"):
        return {f"prepare {task}", f"train {cell}"}
    return set(jobs) - WHOLE_STUDY | {"report": {"summarise"}, "track": {"report"}}.get(stage, set())


def edit(root: Path, changes: dict[str, dict[str, str]]) -> None:
    """Make the changes of an edit in the project at `root`."""
    for name, pairs in changes.items():
        file = root / name if name.startswith(("conf/", "src/")) else root / "src/lookback" / name
        file.parent.mkdir(exist_ok=True)
        text = file.read_text() if file.exists() else ""
        for old, new in pairs.items():
            assert old in text, f"{old!r} is not in {name}"
            text = text.replace(old, new, 1) if old else text + new
        file.write_text(text)


def files_of(name: str) -> dict[str, dict[str, str]]:
    return {file: pairs for file, pairs in EDITS[name].items() if file != "needless"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    """The outcome of each edit, by its name; of a faulty planner by its fault and the edit's."""
    folder = tmp_path_factory.mktemp("edits")
    folders = {}

    def project(name: str, *edits: dict[str, dict[str, str]]) -> None:
        folders[name] = folder / f"{len(folders):03}"
        root = Project.at(folders[name]).root
        (root / "conf/study/tiny.yaml").write_text(TINY)
        for changes in edits:
            edit(root, changes)

    project(BASE)
    for name in EDITS:
        project(name, files_of(name))
    for fault, (old, new, (name, _, _)) in FAULTS.items():
        project(f"{BASE}, {fault}", {"snapshot.py": {old: new}})
        project(f"{name}, {fault}", {"snapshot.py": {old: new}}, files_of(name))
    only_planned = [path.name for name, path in folders.items() if name.endswith(tuple(FAULTS))]
    environment = {key: it for key, it in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", str(HERE / "from_nothing.py"), str(folder), *only_planned]
    subprocess.run(command, env=environment, check=True)
    return {name: outcome(path) for name, path in folders.items()}


def outcome(project: Path) -> Outcome:
    """What from_nothing.py left in a project."""
    planned, found = project / "planned.json", project / "found.json"
    assert found.exists(), (project / "log.txt").read_text()
    return Outcome(json.loads(planned.read_text()), json.loads(found.read_text()))


def stages(jobs: set[str]) -> set[str]:
    return {job.partition(" ")[0] for job in jobs}


@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_changes_is_planned_and_nothing_else(outcomes, name):
    found = verdict(outcomes[BASE], outcomes[name])
    assert found.missed == set()
    assert stages(found.needless) == set(EDITS[name].get("needless", "").split())


def test_most_edits_change_a_number(outcomes):
    """Else the comparison above could not fail."""
    changed = [verdict(outcomes[BASE], outcomes[name]).changed for name in EDITS]
    assert len(EDITS) >= 40
    assert sum(bool(jobs - {"report"}) for jobs in changed) >= 20


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_the_planner_is_caught(outcomes, fault):
    name, kind, job = FAULTS[fault][2]
    base, edited = outcomes[f"{BASE}, {fault}"], outcomes[f"{name}, {fault}"]
    found = verdict(
        Outcome(base.planned, outcomes[BASE].found), Outcome(edited.planned, outcomes[name].found)
    )
    assert job in getattr(found, kind)
