"""Trains one network per seed, with several networks at the same time in separate processes.

A network with a hundred hidden units leaves most of a GPU idle. CUDA's multi-process service (MPS)
runs the kernels of several processes on one GPU at the same time. A network gives the
same numbers whether it is trained alone or beside the networks of other seeds. On a CPU, the
networks of a model's seeds are trained one after another by default, because a study already trains
several models in parallel. The trainer's setting `seeds_at_once` overrides this default.
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
PATIENCE = 30.0  # maximum time for starting or stopping MPS, in seconds


def seeds_at_once(setting: int | Literal["auto"], device: str, seeds: int) -> int:
    """The number of networks that are trained at the same time, one per seed, at most `seeds`.

    With the setting "auto", the networks of all seeds are trained at the same time on a GPU, and
    one after another on a CPU.
    """
    if setting == "auto":
        return 1 if device == "cpu" else seeds
    return min(setting, seeds)


def train_in_processes(train: Callable[[int], None], seeds: Sequence[int], processes: int) -> None:
    """Call `train(seed)` for each seed in forked processes, at most `processes` at a time.

    CUDA must not be initialised before the call, because a forked process cannot use CUDA if its
    parent has initialised it. If the training of a seed raises an exception, the other seeds still
    finish before the exception is raised here. If several seeds fail, the exception of the seed
    that comes first in `seeds` is raised. Raises RuntimeError if the process of a seed was killed.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [pool.submit(partial(_train_timed, train), seed) for seed in seeds]
        try:
            for future in futures:
                cpu_time.add(*future.result())
        except BrokenProcessPool:
            raise RuntimeError(
                "the process of a seed was killed, perhaps because the machine ran out of memory. "
                "Set trainer.seeds_at_once lower. Finished seeds are kept."
            ) from None


def _train_timed(train: Callable[[int], None], seed: int) -> tuple[float, float]:
    """Train the network of one seed, and return the CPU seconds that the training took.

    The first number is the total CPU time, and the second is the part counted as work (training and
    evaluation, without overhead).
    """
    before = cpu_time.spent()
    train(seed)
    cpu, work = (now - then for now, then in zip(cpu_time.spent(), before, strict=True))
    return cpu, work


@contextmanager
def share_gpu(device: str) -> Iterator[None]:
    """Run CUDA's multi-process service during the `with` block, so that processes share the GPU.

    If the multi-process service is not installed or does not start, the processes take turns on the
    GPU.
    """
    if device == "cpu" or shutil.which(SERVICE) is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mps-", dir="/tmp") as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        previous = {name: os.environ.get(name) for name in names}
        os.environ.update(dict.fromkeys(names, folder))
        started = subprocess.run([SERVICE, "-d"], timeout=PATIENCE, check=False).returncode == 0
        if not started:
            print(f"{SERVICE} did not start, so the seeds take turns on the GPU.")
            _restore(previous)
        try:
            yield
        finally:
            if started:
                subprocess.run([SERVICE], input=b"quit\n", timeout=PATIENCE, check=False)
                _restore(previous)


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
