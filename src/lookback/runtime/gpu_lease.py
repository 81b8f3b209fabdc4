"""Lock GPUs, so that each local GPU runs only one job at a time.

Each GPU has a lock file. The operating system releases a lock when the process that holds the lock
dies. Snakemake's resource `gpu` limits the number of GPU jobs but does not assign GPUs to them, so
without locks all jobs would use the first GPU.
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
NONE = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that mean «no GPU»
# The environment variables in which batch schedulers store the id of a job.
JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
POLL = 0.5  # seconds between two attempts to lock a GPU


def local_gpus() -> list[str]:
    """The GPUs that this process may use, as a list of indices or UUIDs.

    The list is empty if there is no GPU. The function does not import torch.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return _driver_gpus()
    return [name for name in map(str.strip, visible.split(",")) if name not in NONE]


def _driver_gpus() -> list[str]:
    """The UUIDs of all GPUs that `nvidia-smi` reports, in the order of the GPUs' indices.

    The list is empty if the machine has no NVIDIA driver.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def _lock_names(gpus: Sequence[str]) -> dict[str, str]:
    """A dictionary from each GPU to the name of its lock file, which is unique on the machine.

    The name is the UUID of the GPU. If the driver does not report the GPU, the name of its lock
    file consists of the scheduler's job id and the GPU's index. The index alone would not be
    unique, because several jobs of a scheduler may each call their own GPU «0».
    """
    uuids = _driver_gpus()
    job = next((f"{os.environ[name]}-" for name in JOB if name in os.environ), "")
    return {gpu: _uuid(gpu, uuids) or f"{job}{gpu}" for gpu in gpus}


def _uuid(gpu: str, uuids: Sequence[str]) -> str | None:
    if gpu.isdecimal():
        return uuids[int(gpu)] if int(gpu) < len(uuids) else None
    # CUDA_VISIBLE_DEVICES may name a GPU by the first characters of its UUID.
    return next((uuid for uuid in uuids if uuid.startswith(gpu)), None)


@contextmanager
def leased(devices: str, gpus: Sequence[str] | None = None) -> Iterator[str]:
    """Lock a GPU during the `with` block, and yield torch's name of the device.

    The yielded name is "cuda:0", or "cpu" if no GPU is used. If `devices` is "auto", the function
    locks one of `gpus`, or uses no GPU if `gpus` is empty. If `devices` is "cpu", no GPU is used.
    The function waits while all GPUs are locked. This process must not initialise CUDA before the
    call, because the function sets CUDA_VISIBLE_DEVICES, which CUDA reads only during its
    initialisation.
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
        # Every user must be able to lock a GPU, but the umask may remove permissions in `mkdir`.
        LOCKS.chmod(0o777)
    names = _lock_names(gpus)
    while True:
        for gpu in gpus:
            try:
                locks.enter_context(FileLock(LOCKS / f"{names[gpu]}.lock", timeout=0, mode=0o666))
            except Timeout:
                continue
            return gpu
        time.sleep(POLL)
