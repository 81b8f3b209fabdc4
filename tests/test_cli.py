"""What `lookback` says of an argument that it cannot use: one sentence, exit status 2."""

import errno
import os

import pytest

from lookback import cli
from lookback.commands import dispatch
from lookback.errors import UserError
from lookback.storage.atomic import write_json

ADDING = {"_target_": "lookback.data.adding.Adding", "length": 6, "seed": 0}
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
            "seeds=0,x cannot be used: seeds are whole numbers from 0 on, as in seeds=0,1,2",
        ),
        (["train", "plan=p", "task=t", "out=o", "seeds="], "seeds= cannot be used"),
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
