"""What a process costs: CPU seconds of work (training, evaluating, measuring) and of all the rest.

Each job appends one line to the file that the environment names; the Snakefile adds them up.
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
    """CPU time spent in this block is work; all other is overhead."""
    global _work
    start = time.process_time()
    try:
        yield
    finally:
        _work += time.process_time() - start


def spent() -> tuple[float, float]:
    """CPU seconds of this process, and those of them that were work."""
    return time.process_time(), _work


def add(cpu: float, work: float) -> None:
    """Count in what a process cost that this one started and that records nothing itself."""
    global _cpu_of_others, _work
    _cpu_of_others += cpu
    _work += work


def record(stage: str, *, forked: bool) -> None:
    """Write what this process has cost. `forked`: no parent of ours counts it as its child."""
    if path := os.environ.get(LEDGER):
        cpu = time.process_time() + _cpu_of_others
        entry = {"stage": stage, "cpu": cpu, "work": _work, "forked": forked}
        # Bookkeeping fails no job: the ledger goes with its main process, and disks get full.
        with suppress(OSError), open(path, "a", encoding="utf-8") as ledger:  # noqa: PTH123
            ledger.write(json.dumps(entry) + "\n")
