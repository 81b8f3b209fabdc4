"""Several seeds of a cell at once, a process each.

A model of a hundred units leaves most of a GPU idle. Processes whose kernels CUDA's multi-process
service runs side by side fill it, and each trains just as it would alone: its numbers are the same.
On a CPU cells are already side by side, so seeds take turns unless the trainer says otherwise.
"""

import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Literal

from lookback.runtime import cpu_time

SERVICE = "nvidia-cuda-mps-control"
PATIENCE = 30.0  # seconds for the service to start, and to end


def at_once(wish: int | Literal["auto"], device: str, seeds: int) -> int:
    """How many of a cell's seeds train side by side; "auto" is all on a GPU, one on a CPU."""
    if wish == "auto":
        return 1 if device == "cpu" else seeds
    return min(wish, seeds)


def each(train: Callable[[int], None], seeds: Sequence[int], processes: int) -> None:
    """Call `train` for each seed in a process of its own; CUDA must not be initialised yet.

    Raises what the first failing one raised, once all have ended.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        running = [pool.submit(partial(_counted, train), seed) for seed in seeds]
        try:
            for one in running:
                cpu_time.add(*one.result())
        except BrokenProcessPool:
            raise RuntimeError(
                "a seed's process was killed, for its memory perhaps. Set trainer.seeds_at_once "
                "lower; finished seeds are kept."
            ) from None


def _counted(train: Callable[[int], None], seed: int) -> tuple[float, float]:
    """Train one seed; what it cost."""
    before = cpu_time.spent()
    train(seed)
    cpu, work = (now - then for now, then in zip(cpu_time.spent(), before, strict=True))
    return cpu, work


@contextmanager
def sharing(device: str) -> Iterator[None]:
    """Let processes share the GPU in the block; without the service they take turns on it."""
    if device == "cpu" or shutil.which(SERVICE) is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mps-", dir="/tmp") as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(dict.fromkeys(names, folder))
        started = subprocess.run([SERVICE, "-d"], timeout=PATIENCE, check=False).returncode == 0
        if not started:
            print(f"{SERVICE} does not start: the seeds take turns on the GPU.")
            _restore(before)
        try:
            yield
        finally:
            if started:
                subprocess.run([SERVICE], input=b"quit\n", timeout=PATIENCE, check=False)
                _restore(before)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
