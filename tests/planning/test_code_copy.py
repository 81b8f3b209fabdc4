"""The copy of the code that jobs import: complete, followed through links, and repaired."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.planning import code_copy
from lookback.planning.code_fingerprints import fingerprints
from lookback.storage.paths import CODE


@pytest.fixture
def project(in_tmp: Path) -> Path:
    """A small project in the working directory."""
    package = in_tmp / "src/lookback"
    (package / "inner").mkdir(parents=True)
    (in_tmp / "workflow").mkdir()
    (in_tmp / "workflow/common.smk").write_text("rule all:\n")
    (package / "__init__.py").write_text("")
    (package / "inner/__init__.py").write_text("")
    (package / "inner/one.py").write_text("ONE = 1\n")
    (package / "two.py").write_text("from lookback.inner.one import ONE\n")
    return in_tmp


def copied(home: Path) -> dict[str, bytes]:
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "commit.json"
    }


def test_a_file_that_a_power_cut_emptied_or_that_somebody_edited_is_written_again(project):
    home = code_copy.take(project)
    before, first = copied(home), fingerprints(home)
    (home / "lookback/inner/one.py").write_text("")
    (home / "lookback/two.py").write_text("TWO = 2\n")
    (home / "workflow/common.smk").unlink()
    (home / "commit.json").write_text("")
    with (home / "lookback/two.py").open() as reader:  # of a job that began before
        assert code_copy.take(project) == home
        assert reader.read() == "TWO = 2\n"
    assert copied(home) == before
    assert fingerprints(home) == first


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "{}", '{"hashes": null}'])
def test_a_damaged_cache_of_fingerprints_is_computed_again(project, damage):
    home = code_copy.take(project)
    first = fingerprints(home)
    assert first.reached["lookback.two"] == ["lookback.inner.one"]
    cache = CODE / f"{home.name}.json"
    written = cache.read_bytes()
    cache.write_text(damage)
    assert fingerprints(home) == first
    assert cache.read_bytes() == written


def test_the_files_and_folders_are_on_the_disk_before_the_copy_gets_its_name(project, monkeypatch):
    """Order of the calls that the kernel gets, without a power cut."""
    calls: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor: int) -> None:
        calls.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        calls.append(("rename", str(target)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    home = code_copy.take(project)
    renamed = calls.index(("rename", str(home)))
    temporary = str((project / home).with_name(f".{home.name}.{os.getpid()}"))
    synced = [Path(path).relative_to(temporary).as_posix() for _, path in calls[:renamed]]
    assert set(synced) >= {*copied(home), ".", "lookback", "lookback/inner", "workflow"}
    assert synced.index("lookback/inner/one.py") < synced.index("lookback/inner")
    assert ("sync", str(project / CODE)) in calls[renamed:]


def test_a_linked_package_is_copied_and_counted(project):
    shutil.move(project / "src/lookback/inner", project / "elsewhere")
    (project / "src/lookback/inner").symlink_to(project / "elsewhere")
    home = code_copy.take(project)
    assert copied(home)["lookback/inner/one.py"] == b"ONE = 1\n"
    assert not (home / "lookback/inner").is_symlink()
    assert "lookback.inner.one" in fingerprints(home).hashes


def plant(project: Path, kind: str) -> None:
    path = project / "src/lookback/inner/odd.py"
    if kind == "dangling":
        path.symlink_to("nowhere.py")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    elif kind == "loop":
        path.symlink_to(project / "src/lookback")
    else:
        path.write_text("")
        path.chmod(0)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("dangling", "a link to a file that does not exist"),
        ("fifo", "neither a file nor a folder"),
        ("socket", "neither a file nor a folder"),
        ("loop", "a link to a folder that contains it"),
        ("unreadable", "Permission denied"),
    ],
)
def test_what_cannot_be_copied_is_named(project, kind, said):
    plant(project, kind)
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root may read every file")
    with pytest.raises(UserError) as caught:
        code_copy.take(project)
    assert str(caught.value).startswith("src/lookback/inner/odd.py ")
    assert said in str(caught.value)


def test_a_file_whose_name_is_not_utf_8_is_named(project):
    Path(os.fsdecode(b"src/lookback/\xff.py")).write_text("")
    with pytest.raises(UserError, match=r"src/lookback/\\xff\.py cannot be copied"):
        code_copy.take(project)


def test_a_copy_that_the_disk_has_no_room_for_leaves_nothing(project):
    """A limit on the size of a file stands for the full disk."""
    (project / "src/lookback/large.py").write_text("#" * 100_000)
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "from pathlib import Path; from lookback.planning import code_copy;"
        "code_copy.take(Path.cwd())"
    )
    package = Path(code_copy.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", limited],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"File too large: '\S+/\.code/[0-9a-f]{16}'", done.stderr)
    assert list(CODE.iterdir()) == []
