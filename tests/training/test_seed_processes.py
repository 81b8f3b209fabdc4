"""Seeds in processes of their own: on a CPU, and with a service that only writes down its calls."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.runtime import cpu_time
from lookback.storage.tables import read_parquet
from lookback.training import seed_processes, train
from tests.training.test_train import contents, fresh  # noqa: F401

LOG = "calls.txt"


def test_seeds_together_leave_the_bytes_of_seeds_in_turn(fresh):  # noqa: F811
    dropout = ("model.layers=2", "model.dropout=0.3")
    found = {}
    for count in (1, 3):
        plan, task, cell = fresh(str(count), "gru", *dropout, f"trainer.seeds_at_once={count}")
        before = cpu_time.spent()[1]
        train.main(plan, task, [0, 1, 2], cell)
        found[count] = contents(cell)
        assert cpu_time.spent()[1] > before  # what the processes cost is counted here
    assert found[1].pop("config.yaml") != found[3].pop("config.yaml")  # which says how many
    for contents_of_files in found.values():
        metrics = json.loads(contents_of_files["metrics.json"])
        del metrics["files"]["config.yaml"]  # the digest of the file
        contents_of_files["metrics.json"] = metrics
    assert found[1] == found[3]
    assert set(read_parquet(cell / "predictions.parquet").seed) == {0, 1, 2}


def test_auto_is_all_seeds_on_a_gpu_and_one_on_a_cpu():
    assert seed_processes.seeds_at_once("auto", "cuda:0", 10) == 10
    assert seed_processes.seeds_at_once("auto", "cpu", 10) == 1
    assert seed_processes.seeds_at_once(4, "cpu", 10) == 4
    assert seed_processes.seeds_at_once(4, "cuda:0", 3) == 3


def _note(folder: Path, lost: int, seed: int) -> None:
    if seed == lost:
        raise UserError(f"seed {seed} cannot be")
    (folder / str(seed)).touch()


def test_what_one_process_raises_arrives_and_the_others_end_first(tmp_path):
    with pytest.raises(UserError, match="seed 1 cannot be"):
        seed_processes.train_in_processes(partial(_note, tmp_path, 1), [0, 1, 2, 3], 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "3"]


def _die(seed: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_said_to_be():
    with pytest.raises(RuntimeError, match=r"trainer\.seeds_at_once lower"):
        seed_processes.train_in_processes(_die, [0, 1], 2)


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A fake nvidia-cuda-mps-control; with status 1 it does not start."""

    def make(status: int) -> Path:
        script = tmp_path / seed_processes.SERVICE
        log = tmp_path / LOG
        script.write_text(
            f'#!/bin/sh\nif [ "$1" = -d ]; then echo "start $CUDA_MPS_PIPE_DIRECTORY" >> {log}; '
            f'exit {status}; fi\necho "$(cat)" >> {log}\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return log

    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    return make


def test_the_service_runs_while_a_gpu_is_shared_and_no_longer(service):
    log = service(0)
    with seed_processes.share_gpu("cuda:0"):
        place = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert log.read_text() == f"start {place}\n"
    assert log.read_text().splitlines()[1:] == ["quit"]
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


def test_without_the_service_seeds_take_turns(service, capsys):
    log = service(1)
    with seed_processes.share_gpu("cuda:0"):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert "take turns" in capsys.readouterr().out
    assert "quit" not in log.read_text()


def test_a_cpu_needs_no_service(service):
    log = service(0)
    with seed_processes.share_gpu("cpu"):
        pass
    assert not log.exists()
