"""What `lookback` says of an argument that it cannot use: one sentence, exit status 2."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lookback import cli
from lookback.commands import dispatch
from lookback.errors import UserError
from lookback.storage.atomic import write_json
from tests.conftest import ROOT

ADDING = {"_target_": "lookback.data.adding.Adding", "length": 6, "seed": 0, "fresh": False}
ADDING |= {"train": 8, "validation": 4, "test": 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ui", "port=abc"], "port=abc cannot be used: a port is a number from 1 to 65535"),
        (["ui", "port=99999"], "port=99999 cannot be used"),
        (["ui", "port=0"], "port=0 cannot be used"),
        (["ui", "prot=5000"], "Did you mean 'port'?"),
        (["track", "--folow"], "Did you mean '--follow'?"),
        (
            ["train", "plan=p", "task=t", "out=o", "seeds=0,x"],
            "seeds=0,x cannot be used: seeds are whole numbers from 0 to 4294967295, as in seeds=",
        ),
        (["train", "plan=p", "task=t", "out=o", "seeds="], "seeds= cannot be used"),
        (
            ["train", "plan=p", "task=t", "out=o", "seeds=0,4294967296"],
            "seeds=0,4294967296 cannot be used",
        ),
        (
            ["train", "task=adding", "model=gru", "seed=99999999999999999"],
            "seed=99999999999999999 cannot be used: a seed is a whole number from 0 to 4294967295",
        ),
    ],
)
def test_an_argument_that_cannot_be_used_is_one_sentence(in_tmp, capsys, words, said):
    assert cli.main(words) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert len(printed.splitlines()) == 1


def test_a_full_disk_names_the_file_and_one_that_may_not_be_opened_does_not_say_written(
    in_tmp, capsys
):
    """The temporary file that `task.json` is written to lies on a disk that is full."""
    write_json("plan.yaml", {"task": ADDING})
    (in_tmp / f".task.{os.getpid()}.json").symlink_to("/dev/full")
    assert dispatch.run(["prepare", "plan=plan.yaml", "out=task.json"], forked=True) == 2
    assert "the disk is full: task.json could not be written" in capsys.readouterr().err
    refused = PermissionError(errno.EACCES, "Permission denied", "plan.yaml")
    assert dispatch.disk_message(refused, "lookback prepare").startswith(
        "plan.yaml may not be opened"
    )


def test_the_place_of_a_mistake_is_shown_on_request(in_tmp, monkeypatch):
    monkeypatch.setenv("LOOKBACK_TRACEBACK", "1")
    with pytest.raises(UserError):
        cli.main(["ui", "port=abc"])


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_a_terminal_without_utf_8_shows_the_help_and_a_mistake(in_tmp, environment):
    def call(*words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "lookback", *words]
        source = str(Path(cli.__file__).parents[1])
        kept = {"PATH": os.environ["PATH"], "PYTHONPATH": source, **environment}
        return subprocess.run(command, env=kept, capture_output=True, check=False)

    shown = call("--help")
    assert shown.returncode == 0
    assert b"lookback train task=NAME model=NAME" in shown.stdout
    assert shown.stderr == b""
    refused = call("train", "task=adding", "model=gru", "tracking.uri=ü")
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr
    for words in (["trän"], ["train", "task=ädding", "model=gru"]):
        mistake = call(*words)
        assert mistake.returncode == 2
        assert mistake.stderr.startswith(b"lookback: ")
        assert b"Traceback" not in mistake.stderr


def test_the_words_of_an_override_that_the_shell_has_split_are_one(in_tmp, capsys):
    """A whole override reaches the check of the trainer, which then refuses its value."""
    words = ["train", "task=adding", "model=gru", "trainer.budget={steps:", "0}"]
    assert cli.main(words) == 2
    assert "'budget.steps' cannot be 0; it should be at least 1" in capsys.readouterr().err
    assert cli.main(words[:-1]) == 2
    assert "Put an override with brackets in quotes" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["models"], ["train", "task=adding", "model=gru"]])
@pytest.mark.parametrize("module", ["models/gru.py", "models/base.py"])
@pytest.mark.parametrize("source", [b"x = 1\n\0\n", b"x = 1\n(\n"], ids=["null byte", "bracket"])
def test_a_module_that_python_cannot_parse_is_named_by_every_command(in_tmp, words, module, source):
    shutil.copytree(ROOT / "src", in_tmp / "src")
    for part in ("conf", "workflow"):
        (in_tmp / part).symlink_to(ROOT / part)
    (in_tmp / "src/lookback" / module).write_bytes(source)
    done = subprocess.run(
        [sys.executable, "-m", "lookback", *words],
        env={**os.environ, "PYTHONPATH": str(in_tmp / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"lookback: src/lookback/{module}, line 2: ")
    assert len(done.stderr.splitlines()) == 1
