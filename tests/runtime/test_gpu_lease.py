"""One GPU, one job: leases on a list of devices that do not exist."""

import multiprocessing
import os
import signal
import time

import pytest

from lookback.runtime import gpu_lease


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lease, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(gpu_lease, "POLL", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_leases_hold_two_devices_and_each_process_sees_its_own():
    with gpu_lease.leased("auto", ["0", "1"]) as first:
        assert (first, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "0")
        with gpu_lease.leased("auto", ["0", "1"]) as second:
            assert (second, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "1")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("wish", "there"), [("cpu", ["0"]), ("auto", [])])
def test_a_machine_without_a_gpu_or_a_wish_for_none_is_a_cpu(wish, there):
    with gpu_lease.leased(wish, there) as device:
        assert device == "cpu"
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def _hold(locks, taken) -> None:
    gpu_lease.LOCKS = locks
    with gpu_lease.leased("auto", ["0"]):
        taken.set()
        time.sleep(60)


def test_a_lease_whose_holder_was_killed_is_free_at_once():
    context = multiprocessing.get_context("spawn")
    taken = context.Event()
    holder = context.Process(target=_hold, args=(gpu_lease.LOCKS, taken))
    holder.start()
    assert taken.wait(30)
    waiting = context.Process(target=_hold, args=(gpu_lease.LOCKS, second := context.Event()))
    waiting.start()
    assert not second.wait(1.0)  # the only device is taken
    os.kill(holder.pid, signal.SIGKILL)
    assert second.wait(30)
    waiting.kill()


def test_only_the_devices_that_this_process_may_see_are_local(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ab")
    assert gpu_lease.local_gpus() == ["2", "GPU-ab"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_lease.local_gpus() == []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A driver that shows the GPUs it is told of, as it shows a scheduler's job its own alone."""

    def shows(*uuids: str) -> None:
        driver = tmp_path / "bin" / "nvidia-smi"
        driver.parent.mkdir(exist_ok=True)
        driver.write_text("#!/bin/sh\n" + "".join(f"echo {uuid}\n" for uuid in uuids))
        driver.chmod(0o755)
        monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")

    return shows


def locks_held() -> set[str]:
    return {path.stem for path in gpu_lease.LOCKS.iterdir()}


def test_two_jobs_of_a_scheduler_that_calls_each_one_s_device_0_do_not_wait(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    machine("GPU-aa")
    with gpu_lease.leased("auto"):
        machine("GPU-bb")
        with gpu_lease.leased("auto"):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
            assert locks_held() == {"GPU-aa", "GPU-bb"}


def test_a_device_is_one_lock_whether_it_is_called_by_number_by_name_or_not_at_all(
    machine, monkeypatch
):
    machine("GPU-aa01", "GPU-bb02")
    for called in ("1", "GPU-bb", "GPU-bb02"):
        with gpu_lease.leased("auto", [called]):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == called
    assert gpu_lease.local_gpus() == ["GPU-aa01", "GPU-bb02"]
    assert locks_held() == {"GPU-bb02"}


def test_without_a_driver_to_ask_a_scheduler_s_job_keeps_to_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for job in ("7", "8"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        with gpu_lease.leased("auto", ["0"]):
            pass
    assert locks_held() == {"7-0", "8-0"}
