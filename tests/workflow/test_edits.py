"""Reruns are exact: none missed, and none needless but those that edits.yaml names.

For each edit the study `tiny` is planned, and run from nothing beside the unedited one. A job whose
results differ must be planned; a job whose plan differs must have results that differ.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookback.errors import UserError
from lookback.planning.code_copy import take
from lookback.planning.code_fingerprints import fingerprints
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
overrides:
  [model.hidden_size=4, trainer.batch_size=16, trainer.max_steps=4, trainer.log_every=2,
   explainer.integrated_gradients.sequences=1, explainer.occlusion.sequences=1]
probes: [gradient_flow]
explainers: [integrated_gradients, occlusion]
"""
# Faults planted in the planner; an edit; and a job that is then missed, or needless.
FAULTS = {
    "blind to a module": (
        "return parse_source(path, source)",
        'return ast.parse("") if path.stem == "recurrent" else parse_source(path, source)',
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
        (
            "comments, blank lines, quotes and line breaks",
            "needless",
            "train adding/gru",
        ),
    ),
}
EQUAL = """match: {params: 150, tolerance: 0.6}
tune: {recipe.clip: [1e-3, 1.0], budget: {steps: 2}}
"""
BASE, TUNED = "unedited", "unedited, under equal conditions"
SAID = ("needless", "tuned")  # keys of an edit that are no files
WHOLE_STUDY = {"summarise", "draw", "track", "report"}


@dataclass(frozen=True)
class Outcome:
    """The jobs of a project, each with its plan and what it comes after; and what each found."""

    jobs: dict[str, dict[str, Any]]
    found: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """The jobs that an edit changes; those of them not planned; what is planned besides."""

    changed: set[str]
    missed: set[str]
    needless: set[str]


def verdict(base: Outcome, edited: Outcome) -> Verdict:
    """Compare what an edit plans with what it changes."""
    own = {job for job, it in edited.jobs.items() if it["plan"] != plan_of(base, job)}
    changed = {job for job, it in edited.found.items() if it != base.found.get(job)}
    planned = set(own)
    for job, it in edited.jobs.items():  # Snakemake goes on to all that comes after
        if planned & set(it["after"]):
            planned.add(job)
    # The plan of a whole study names all other plans, so it counts only where it differs alone;
    # what tracking finds is not looked at.
    judged = own - WHOLE_STUDY or own - {"track"} or own
    return Verdict(changed, changed - planned, judged - changed)


def plan_of(outcome: Outcome, job: str) -> str:
    return outcome.jobs[job]["plan"] if job in outcome.jobs else ""


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
    return {file: pairs for file, pairs in EDITS[name].items() if file not in SAID}


def base_of(name: str) -> str:
    return TUNED if EDITS[name].get("tuned") else BASE


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Outcome]:
    """The outcome of each edit, by its name; of a faulty planner by its fault and the edit's."""
    folder = tmp_path_factory.mktemp("edits")
    folders = {}

    def project(base: str, name: str, *edits: dict[str, dict[str, str]]) -> None:
        folders[name] = folder / f"{len(folders):03}"
        root = Project.at(folders[name]).root
        (root / "conf/study/tiny.yaml").write_text(TINY + (EQUAL if base == TUNED else ""))
        (root / "base.txt").write_text(folders[base].name)
        for changes in edits:
            edit(root, changes)

    project(BASE, BASE)
    project(TUNED, TUNED)
    for name in EDITS:
        project(base_of(name), name, files_of(name))
    for fault, (old, new, (name, _, _)) in FAULTS.items():
        project(BASE, f"{BASE}, {fault}", {"planning/code_fingerprints.py": {old: new}})
        project(
            BASE, f"{name}, {fault}", {"planning/code_fingerprints.py": {old: new}}, files_of(name)
        )
    only_planned = [path.name for name, path in folders.items() if name.endswith(tuple(FAULTS))]
    environment = {key: it for key, it in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", str(HERE / "from_nothing.py"), str(folder), *only_planned]
    subprocess.run(command, env=environment, check=True)
    return {
        name: outcome(path, runs=path.name not in only_planned) for name, path in folders.items()
    }


def outcome(project: Path, *, runs: bool) -> Outcome:
    """What from_nothing.py left in a project."""
    files = [project / "jobs.json", project / "found.json"][: 1 + runs]
    assert all(file.exists() for file in files), (project / "log.txt").read_text()
    said = [json.loads(file.read_text()) for file in files]
    return Outcome(*said) if runs else Outcome(*said, found={})


def stages(jobs: set[str]) -> set[str]:
    return {job.partition(" ")[0] for job in jobs}


@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_changes_is_planned_and_nothing_else(outcomes, name):
    found = verdict(outcomes[base_of(name)], outcomes[name])
    assert found.missed == set()
    assert stages(found.needless) == set(EDITS[name].get("needless", "").split())


def test_most_edits_change_a_number(outcomes):
    """Else the comparison above could not fail."""
    changed = [verdict(outcomes[base_of(name)], outcomes[name]).changed for name in EDITS]
    assert len(EDITS) >= 40
    assert sum(bool(jobs - {"report"}) for jobs in changed) >= 20


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_the_planner_is_caught(outcomes, fault):
    name, kind, job = FAULTS[fault][2]
    base, edited = outcomes[f"{BASE}, {fault}"], outcomes[f"{name}, {fault}"]
    found = verdict(
        Outcome(base.jobs, outcomes[BASE].found), Outcome(edited.jobs, outcomes[name].found)
    )
    assert job in getattr(found, kind)


def test_a_folder_that_is_no_package_is_a_mistake(in_tmp):
    """What imports its modules cannot be seen, so a change of one would be missed."""
    root = Project.at(in_tmp / "project").root
    edit(root, {"models/drafts/gru.py": {"": "half = 0.5\n"}})
    with pytest.raises(UserError, match="models/drafts/ has no __init__"):
        fingerprints(take(root))


DOCSTRINGS = "docstrings of a package, a module, a class and a function"


def test_snakemake_has_nothing_to_do_after_an_edit_that_means_nothing_or_is_undone(finished):
    assert finished.planned() == set()
    edit(finished.root, files_of(DOCSTRINGS))
    assert finished.planned() == set()
    gru = finished.root / "src/lookback/models/gru.py"
    before = gru.read_text()
    edit(finished.root, files_of("the gru's equations"))
    assert "train adding/gru" in finished.planned()
    gru.write_text(before)
    assert finished.planned() == set()


GRU = {
    "train adding/gru",
    "probe adding/gru gradient_flow",
    "explain adding/gru occlusion",
    "explain adding/gru attention",
}


@pytest.mark.parametrize("name", ["a value of a model", "the gru's equations"])
def test_snakemake_reruns_the_cells_of_the_edited_model_alone(finished, name):
    edit(finished.root, files_of(name))
    assert finished.planned() == GRU | WHOLE_STUDY


def test_snakemake_says_what_was_edited(finished):
    edit(finished.root, files_of("the gru's equations"))
    assert "would run train adding/gru: code of lookback.models.gru" in finished.run("-n")


def test_snakemake_trains_for_a_seed_more_and_measures_for_an_explainer_more(finished):
    study, cells = "conf/study/small.yaml", ("adding/rnn", "adding/gru", "adding/attention")
    edit(finished.root, {study: {"attention]": "attention, integrated_gradients]"}})
    more = {f"explain {cell} integrated_gradients" for cell in cells}
    assert finished.planned() == more | WHOLE_STUDY
    edit(finished.root, {study: {"seeds: 2": "seeds: 3"}})
    assert {f"train {cell}" for cell in cells} < finished.planned()


def test_snakemake_reports_and_tracks_after_an_edit_of_the_template(finished):
    edit(finished.root, files_of("the template"))
    assert finished.planned() == {"draw", "track", "report"}
