"""Count the CPU seconds of a process, split into work and overhead.

Work is the training, the evaluation and the measurement of models. Each job of a study appends one
line to the file that the environment variable LOOKBACK_USAGE names. The main process of the study
adds up all lines of this file.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LEDGER = "LOOKBACK_USAGE"
_work = 0.0
_cpu_of_others = 0.0


@contextmanager
def work() -> Iterator[None]:
    """Count the CPU time of the `with` block as work. CPU time outside such blocks is overhead."""
    global _work
    start = time.process_time()
    try:
        yield
    finally:
        _work += time.process_time() - start


def spent() -> tuple[float, float]:
    """The total CPU seconds of this process so far, and the CPU seconds inside `work` blocks."""
    return time.process_time(), _work


def add(cpu: float, work: float) -> None:
    """Add the CPU seconds of a child process to those of this process.

    The child process must not call `record`, because its CPU seconds would then count twice.
    """
    global _cpu_of_others, _work
    _cpu_of_others += cpu
    _work += work


def record(stage: str, *, forked: bool) -> None:
    """Append the CPU seconds of this process to the file that LOOKBACK_USAGE names.

    The function does nothing if this environment variable is not set. `forked` means that no parent
    process counts the CPU time of this process as a child's time.
    """
    if path := os.environ.get(LEDGER):
        cpu = time.process_time() + _cpu_of_others
        entry = {"stage": stage, "cpu": cpu, "work": _work, "forked": forked}
        # Write errors are ignored, because the study's main process may have deleted the file.
        with suppress(OSError), open(path, "a", encoding="utf-8") as ledger:  # noqa: PTH123
            ledger.write(json.dumps(entry) + "\n")
