"""Locks that give each local GPU to one job at a time.

Each GPU has a lock file. The operating system frees the lock when the process that holds it dies.
Snakemake's `gpu` resource only counts GPUs, so without locks all jobs would pick the first GPU.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCKS = Path(tempfile.gettempdir()) / "lookback-devices"
NONE = ("", "-1", "NoDevFiles")  # values in CUDA_VISIBLE_DEVICES that mean «no GPU»
JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # variables in which schedulers store a job's id
POLL = 0.5  # seconds between two attempts to lock a GPU


def local_gpus() -> list[str]:
    """The GPUs that this process may use, as indices or UUIDs. Empty if there are none.

    The function does not import torch.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return _driver_gpus()
    return [name for name in map(str.strip, visible.split(",")) if name not in NONE]


def _driver_gpus() -> list[str]:
    """The UUIDs of the driver's GPUs, in the order of their indices. Empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def _lock_names(gpus: Sequence[str]) -> dict[str, str]:
    """For each GPU, a name that is unique on the machine: its UUID, or else job id and index.

    An index alone is not unique, because each job of a scheduler may call its own GPU 0. The job id
    is used if the driver does not report the GPU.
    """
    uuids = _driver_gpus()
    job = next((f"{os.environ[name]}-" for name in JOB if name in os.environ), "")
    return {gpu: _uuid(gpu, uuids) or f"{job}{gpu}" for gpu in gpus}


def _uuid(gpu: str, uuids: Sequence[str]) -> str | None:
    if gpu.isdecimal():
        return uuids[int(gpu)] if int(gpu) < len(uuids) else None
    # CUDA accepts the first characters of a UUID as a name.
    return next((uuid for uuid in uuids if uuid.startswith(gpu)), None)


@contextmanager
def leased(devices: str, gpus: Sequence[str] | None = None) -> Iterator[str]:
    """Lock a device during the `with` block and yield its name in torch, "cuda:0" or "cpu".

    The trainer's setting `devices` is "auto" (take a GPU if there is one) or "cpu" (take none).
    The function waits while all GPUs are locked. CUDA must not be initialised in this process
    before the call, because the function sets CUDA_VISIBLE_DEVICES.
    """
    gpus = local_gpus() if gpus is None else gpus
    if devices == "cpu" or not gpus:
        yield "cpu"
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as locks:
        os.environ["CUDA_VISIBLE_DEVICES"] = _lock_first_free(gpus, locks)
        try:
            yield "cuda:0"
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _lock_first_free(gpus: Sequence[str], locks: ExitStack) -> str:
    if not LOCKS.exists():
        LOCKS.mkdir(parents=True, exist_ok=True)
        LOCKS.chmod(0o777)  # all users may lock a GPU, for any umask
    names = _lock_names(gpus)
    while True:
        for gpu in gpus:
            try:
                locks.enter_context(FileLock(LOCKS / f"{names[gpu]}.lock", timeout=0, mode=0o666))
            except Timeout:
                continue
            return gpu
        time.sleep(POLL)
