"""CPU seconds of a process, split into work (training, evaluating, measuring) and overhead.

Each job appends one line to the file named in the environment variable LOOKBACK_USAGE. The
Snakefile adds up the lines.
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
    """Count the CPU time of the `with` block as work. All other CPU time is overhead."""
    global _work
    start = time.process_time()
    try:
        yield
    finally:
        _work += time.process_time() - start


def spent() -> tuple[float, float]:
    """The total CPU seconds of this process so far, and the part spent in `work` blocks."""
    return time.process_time(), _work


def add(cpu: float, work: float) -> None:
    """Add the CPU seconds of a child process that does not call `record` itself."""
    global _cpu_of_others, _work
    _cpu_of_others += cpu
    _work += work


def record(stage: str, *, forked: bool) -> None:
    """Append the CPU seconds of this process to the file named in LOOKBACK_USAGE, if there is one.

    `forked` means that no parent process counts the CPU time of this process as a child's time.
    """
    if path := os.environ.get(LEDGER):
        cpu = time.process_time() + _cpu_of_others
        entry = {"stage": stage, "cpu": cpu, "work": _work, "forked": forked}
        # A write error must not fail the job. The main process may have deleted the file already.
        with suppress(OSError), open(path, "a", encoding="utf-8") as ledger:  # noqa: PTH123
            ledger.write(json.dumps(entry) + "\n")
