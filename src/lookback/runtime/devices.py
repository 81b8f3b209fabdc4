"""One local GPU, one job: a lock file a device, freed by the kernel when its holder dies.

Snakemake's `gpu` resource only counts; jobs that start together would all pick the first device.
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
NONE = ("", "-1", "NoDevFiles")  # how CUDA and Slurm say that no device is visible
JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")  # how schedulers name a job
POLL = 0.5  # seconds between two looks at devices that are all taken


def local_gpus() -> list[str]:
    """The GPUs that this process may use: indices or UUIDs, empty without any. Imports no torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return _driven()
    return [name for name in map(str.strip, visible.split(",")) if name not in NONE]


def _driven() -> list[str]:
    """The UUIDs of the GPUs that the driver shows this process, by index; empty without any."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def _lock_names(gpus: Sequence[str]) -> dict[str, str]:
    """Each GPU's name on the machine, where a scheduler's jobs may all call theirs 0.

    Where no driver can be asked, the devices of a job are its own: it knows them by its number.
    """
    shown = _driven()
    job = next((f"{os.environ[name]}-" for name in JOB if name in os.environ), "")
    return {gpu: _uuid(gpu, shown) or f"{job}{gpu}" for gpu in gpus}


def _uuid(gpu: str, shown: Sequence[str]) -> str | None:
    if gpu.isdecimal():
        return shown[int(gpu)] if int(gpu) < len(shown) else None
    return next((uuid for uuid in shown if uuid.startswith(gpu)), None)  # CUDA takes a beginning


@contextmanager
def leased(devices: str, gpus: Sequence[str] | None = None) -> Iterator[str]:
    """Hold a device while the block runs, and name it for torch: "cuda:0" or "cpu".

    `devices` is the trainer's setting: "auto" takes a GPU where there is one, "cpu" never does.
    Waits while all GPUs are taken. CUDA must not have been initialised in this process before.
    """
    gpus = local_gpus() if gpus is None else gpus
    if devices == "cpu" or not gpus:
        yield "cpu"
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = _first_free(gpus, held)
        try:
            yield "cuda:0"
        finally:
            if before is None:
                del os.environ["CUDA_VISIBLE_DEVICES"]
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _first_free(gpus: Sequence[str], held: ExitStack) -> str:
    if not LOCKS.exists():
        LOCKS.mkdir(parents=True, exist_ok=True)
        LOCKS.chmod(0o777)  # for all users of the machine, whatever the umask
    names = _lock_names(gpus)
    while True:
        for gpu in gpus:
            try:
                held.enter_context(FileLock(LOCKS / f"{names[gpu]}.lock", timeout=0, mode=0o666))
            except Timeout:
                continue
            return gpu
        time.sleep(POLL)
