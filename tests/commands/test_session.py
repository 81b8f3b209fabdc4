"""What Snakemake's main process says if a study cannot be planned."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from lookback.commands import session
from lookback.storage.paths import CODE
from tests.conftest import ROOT


@pytest.fixture
def root(in_tmp: Path) -> Path:
    """A project in the working directory."""
    (in_tmp / "src").mkdir()
    for part in ("conf", "workflow", "src/lookback"):
        (in_tmp / part).symlink_to(ROOT / part)
    return in_tmp


def refusal(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        session.plan(root, {}, words, nodes=None, dry_run=True, quiet=False)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_disk_that_is_full_is_named_and_no_half_copy_stays(root, capsys, monkeypatch):
    """The disk is full when the first file of the copy should reach it."""
    sync = os.fsync

    def full(descriptor: int) -> None:
        if ".code/." in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    printed = refusal(root, capsys)
    assert printed.startswith("lookback: the disk is full: results/.code/")
    assert "Make room" in printed
    assert list(CODE.iterdir()) == []


def test_results_that_may_not_be_written_are_named(root, capsys, monkeypatch):
    monkeypatch.setattr(session, "make", refused)
    printed = refusal(root, capsys)
    assert printed.startswith("lookback: results may not be written: Read-only file system.")


def refused(*_: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system", "results")


@pytest.mark.parametrize("link", [True, False])
def test_a_file_in_the_place_of_results_is_named(root, capsys, link):
    (root / "results").symlink_to("nowhere") if link else (root / "results").write_text("")
    assert "lookback: results is not a folder. Move it away" in refusal(root, capsys)


@pytest.mark.parametrize("kind", [NotADirectoryError, FileExistsError])
def test_a_file_in_the_place_of_a_folder_above_is_named(root, capsys, monkeypatch, kind):
    (root / "results").mkdir()
    (root / "results/small").write_text("")

    def blocked(*_: object) -> None:
        raise kind(errno.ENOTDIR, "Not a directory", "results/small/adding/gru/metrics.json")

    monkeypatch.setattr(session, "make", blocked)
    assert "lookback: results/small is not a folder. Move it away" in refusal(root, capsys)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "overrides=[trainer.budget={steps: 3",
            "overrides=[trainer.budget={steps: 3 opens a bracket",
        ),
        ("overrides=[trainer.threads=1.0]", "'threads' cannot be 1.0"),
        ("study=", "the study '' is not in conf/study/"),
        ("study=a;b", "the study 'a;b' is not in conf/study/"),
    ],
)
def test_a_mistake_at_the_command_line_is_a_sentence(root, capsys, word, said):
    assert said in refusal(root, capsys, word)


BROKEN = {
    "never closed": (b"import torch\n\nx = (\n", "line 3: '(' was never closed"),
    "a null byte": (b"x = 1\n\0\n", "line 2: source code string cannot contain null bytes"),
    "another encoding": (
        b"x = 1\ny = '\xff'\n",
        "line 2: (unicode error) 'utf-8' codec can't decode",
    ),
    "an encoding that does not exist": (b"# coding: nope\n", ": unknown encoding: nope"),
    "tabs": (b"if 1:\n\tx = 1\n        y = 1\n", "line 3: inconsistent use of tabs and spaces"),
    "a deep nest": (b"x = " + b"-" * 200_000 + b"1\n", "cannot be parsed as Python"),
}


@pytest.mark.parametrize("is_used", [True, False], ids=["used", "not used"])
@pytest.mark.parametrize(("source", "said"), BROKEN.values(), ids=BROKEN)
def test_a_module_that_python_cannot_parse_is_named_with_its_line(
    root, capsys, monkeypatch, source, said, is_used
):
    """A module of a model of the study, and one that no option names."""
    copied = Path(shutil.copytree(ROOT / "src/lookback", root / "copied/src/lookback"))
    (root / "src/lookback").unlink()
    (root / "src/lookback").symlink_to(copied)
    (copied / "models/broken.py").write_bytes(source)
    if is_used:
        (root / "conf").unlink()
        shutil.copytree(ROOT / "conf", root / "conf")
        option = "_target_: lookback.models.broken.Broken\nhidden_size: 3\n"
        (root / "conf/model/broken.yaml").write_text(option)
        study = "tasks: [adding]\nmodels: [broken]\nseeds: 1\n"
        (root / "conf/study/mine.yaml").write_text(study)
        monkeypatch.setattr("lookback.__path__", [str(copied)])
    printed = refusal(root, capsys, *(["study=mine"] if is_used else []))
    assert printed.startswith("lookback: src/lookback/models/broken.py")
    assert said in printed
    assert len(printed.splitlines()) == 1
