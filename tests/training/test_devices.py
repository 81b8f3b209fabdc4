"""One GPU, one job: leases on a list of devices that do not exist."""

import multiprocessing
import os
import signal
import time

import pytest

from lookback.training import devices


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(devices, "POLL", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_leases_hold_two_devices_and_each_process_sees_its_own():
    with devices.leased("auto", ["0", "1"]) as first:
        assert (first, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "0")
        with devices.leased("auto", ["0", "1"]) as second:
            assert (second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "1")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("wish", "there"), [("cpu", ["0"]), ("auto", [])])
def test_a_machine_without_a_gpu_or_a_wish_for_none_is_a_cpu(wish, there):
    with devices.leased(wish, there) as device:
        assert device == "cpu"
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def _hold(locks, taken) -> None:
    devices.LOCKS = locks
    with devices.leased("auto", ["0"]):
        taken.set()
        time.sleep(60)


def test_a_lease_whose_holder_was_killed_is_free_at_once():
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    holder = context.Process(target=_hold, args=(devices.LOCKS, taken))
    holder.start()
    assert taken.wait(30)
    waiting = context.Process(target=_hold, args=(devices.LOCKS, second := context.Event()))
    waiting.start()
    assert not second.wait(1.0)  # the only device is taken
    os.kill(holder.pid, signal.SIGKILL)
    assert second.wait(30)
    waiting.kill()


def test_only_the_devices_that_this_process_may_see_are_local(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ab")
    assert devices.local_gpus() == ["2", "GPU-ab"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.local_gpus() == []
