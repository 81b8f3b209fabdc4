"""A folder results/ that was moved is the same project; a copy is another one."""

import os
import shutil
from pathlib import Path

import pytest

from lookback.storage.atomic import read_json, write_json
from lookback.tracking.project import FILE, current_project, identity
from lookback.tracking.track import track

from .rows import rows
from .tree import Study, complete

URI = "sqlite:///results/mlflow.db"
OUT = Path("results/tiny/tracked/receipt.json")


@pytest.fixture
def original(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder that a test may move, as the working directory."""
    folder = project / "original"
    folder.mkdir()
    (project / "results").rename(folder / "results")
    monkeypatch.chdir(folder)
    return folder


def copy(folder: Path, name: str) -> Path:
    """A copy of a project beside it, with the same times, as the working directory."""
    copied = folder.with_name(name)
    shutil.copytree(folder, copied, symlinks=True)
    os.chdir(copied)
    return copied


def projects(database: str = "results/mlflow.db") -> set[object]:
    """The tags `project` of all runs of a store."""
    return {row[2] for row in rows(database)["tags"] if row[1] == "project"}


def superseded(database: str = "results/mlflow.db") -> list[object]:
    return [row[0] for row in rows(database)["tags"] if row[1] == "superseded"]


def test_a_moved_project_keeps_its_identity_wherever_it_goes(original):
    first = identity()
    for name in ("second", "third"):
        moved = Path.cwd().rename(original.with_name(name))
        os.chdir(moved)
        assert identity() == first
        assert read_json(FILE)["path"] == str(moved / "results")


def test_a_copy_is_another_project_and_says_so_once(original, capsys):
    first = identity()
    copy(original, "copy")
    second = current_project()
    assert second.project != first
    assert second.ancestors == (first,)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(original / "results") in said
    assert identity() == second.project
    copy(Path.cwd(), "copy of the copy")
    assert current_project().ancestors == (first, second.project)
    os.chdir(original)
    capsys.readouterr()
    assert identity() == first
    assert capsys.readouterr().err == ""


def test_a_project_that_was_restored_at_its_place_or_is_seen_from_another_host_is_the_same(
    original, capsys
):
    first = identity()
    backup = copy(original, "backup")
    shutil.rmtree(original)
    shutil.copytree(backup, original, symlinks=True)
    os.chdir(original)
    assert identity() == first
    write_json(FILE, {**read_json(FILE), "host": "elsewhere", "path": "/mnt/elsewhere/results"})
    assert identity() == first
    assert capsys.readouterr().err == ""


def test_the_identity_of_an_older_lookback_stays_and_is_bound_to_its_place(original):
    first = identity()
    FILE.write_text(f"{first}\n")
    assert identity() == first
    copy(original, "copy")
    assert identity() != first


@pytest.mark.parametrize("content", ["", "{", "[]", "not a name", '{"project": 3}'])
def test_a_damaged_identity_is_replaced(content, original):
    FILE.parent.mkdir()
    FILE.write_text(content)
    assert identity() == identity()
    assert read_json(FILE)["project"] == identity()


def test_a_copy_leaves_the_runs_of_the_original_alone_on_a_store_of_both(original, project):
    shared = f"sqlite:///{project / 'shared.db'}"
    track(complete(Study(code="one")), shared, OUT)
    copy(original, "copy")
    track(complete(Study(code="two")), shared, OUT)
    assert superseded(str(project / "shared.db")) == []
    assert len(projects(str(project / "shared.db"))) == 2
    assert len(rows(str(project / "shared.db"))["runs"]) == 2 * 6


def test_a_copy_takes_over_the_runs_in_its_own_copy_of_the_store(original):
    track(complete(Study(code="one")), URI, OUT)
    before = projects()
    copy(original, "copy")
    track(complete(Study(code="one")), URI, OUT)
    assert len(rows()["runs"]) == 6
    assert projects() == {identity()} != before
    track(complete(Study(code="two")), URI, OUT)
    assert len(superseded()) == 6
    os.chdir(original)
    assert projects() == before
    assert superseded() == []
