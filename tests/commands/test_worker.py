"""The worker: a job in it does what a process of its own would do."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lookback.commands import session
from lookback.storage import run_store
from tests.conftest import ROOT
from tests.training.test_train import plan_of


@pytest.fixture
def server(tmp_path: Path):
    """A worker at `tmp_path/worker`, with its parent's end of the pipe."""
    address = tmp_path / "worker"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "lookback.commands.worker", str(address)],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    yield address, process
    process.kill()
    process.wait()
    process.stdin.close()


def client(address: Path, folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = {"PYTHONPATH": str(ROOT / "src"), "LOOKBACK_WORKER": str(address)}
    return subprocess.Popen(
        [sys.executable, "-m", "lookback", *words],
        env={**os.environ, **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_status_and_words_come_back_through_the_client(server, tmp_path):
    address, _ = server
    wait_for(address)
    job = client(address, tmp_path, "prepare", "plan=p", "ouy=x")
    said, errors = job.communicate(timeout=120)
    assert (job.returncode, said) == (2, "")
    assert errors == "lookback: `lookback prepare` needs out=….\n"


def test_a_job_whose_client_is_killed_ends_with_it(server, tmp_path, monkeypatch):
    """The job waits for a lock that the test holds, so it would wait for ever."""
    address, process = server
    wait_for(address)
    monkeypatch.chdir(tmp_path)
    plan, task = plan_of(tmp_path, "gru")
    folder = run_store.seed_folder(run_store.runs_folder(plan, task), 0)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = [f"plan={plan}", f"task={task}", "seeds=0", f"out={task.parent / 'gru'}"]
        job = client(address, tmp_path, "train", *words)
        wait_until(lambda: len(children(process.pid)) == 1)
        time.sleep(0.5)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        wait_until(lambda: not children(process.pid))


@pytest.mark.parametrize("left", [False, True], ids=["gone", "left behind"])
def test_a_job_without_a_worker_is_done_by_a_process_of_its_own(in_tmp, left):
    """A killed worker leaves its address, at which nobody answers."""
    address = in_tmp / "worker"
    if left:
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.bind(str(address))
    _, made = plan_of(in_tmp, "gru")
    wanted = made.read_bytes()
    made.unlink()
    job = client(address, in_tmp, "prepare", "plan=prepare.yaml", f"out={made}")
    assert (job.wait(timeout=120), job.stderr.read()) == (0, "")
    assert made.read_bytes() == wanted


def test_a_request_that_cannot_be_taken_is_not_answered_so_its_client_runs_it(server, tmp_path):
    address, process = server
    wait_for(address)
    words = {"words": ["prepare"], "folder": str(tmp_path / "gone"), "environment": {}}
    for content in (b"{ no JSON", json.dumps(words).encode()):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(address))
            socket.send_fds(asking, [len(content).to_bytes(8, "big")], [0, 1, 2])
            asking.sendall(content)
            assert asking.recv(1) == b""
    assert process.poll() is None
    assert client(address, tmp_path, "prepare", "plan=p").wait(timeout=120) == 2


def test_an_address_is_short_enough_for_a_socket_where_temporary_files_lie_deep(
    in_tmp, monkeypatch
):
    deep = in_tmp / ("folder" * 12) / ("folder" * 12)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    opened = session.Session(Path("index"), "code")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(opened.address))
    monkeypatch.setattr(tempfile, "tempdir", str(in_tmp))
    assert session.Session(Path("index"), "code").address.is_relative_to(in_tmp)


def test_the_worker_ends_when_its_parent_does(server):
    address, process = server
    wait_for(address)
    process.stdin.close()
    assert process.wait(timeout=120) == 0
    assert not address.exists()


def children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in listed]


def wait_for(address: Path) -> None:
    wait_until(address.exists)


def wait_until(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)
