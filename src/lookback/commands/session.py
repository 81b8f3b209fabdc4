"""Snakemake's main process locks results/, plans the study, runs the worker and sums CPU times.

Only the Snakefile calls this module, not the jobs that Snakemake starts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lookback.commands import worker
from lookback.errors import TRACEBACK, UserError
from lookback.planning.plan import make, start
from lookback.planning.study import DEFAULT_STUDY, compose_study
from lookback.planning.validate_settings import did_you_mean
from lookback.runtime import cpu_time
from lookback.storage.lock import hold, use_plans

CONFIG_KEYS = ("study", "overrides")  # the keys that `snakemake --config` accepts


def lock_results(*, dry_run: bool) -> list[TextIO]:
    """Lock results/ before the planning, until the caller closes the returned files.

    Without the lock, a plan could be out of date before its study starts. A dry run only keeps
    `lookback clean` from deleting plan files. If the lock cannot be taken, the function prints a
    message and exits with status 2.
    """
    try:
        return [use_plans()] if dry_run else [hold(), use_plans()]
    except UserError as mistake:
        print(f"lookback: {mistake}", file=sys.stderr)
        sys.exit(2)


def plan(root: Path, config: Mapping[str, Any], *, quiet: bool) -> Path:
    """Plan the study that `snakemake --config` names, and return the path of its index file.

    If the study cannot be planned, the function prints a message and exits with status 2.
    """
    try:
        for key in config:
            if key not in CONFIG_KEYS:
                raise UserError(
                    f"--config does not know '{key}'.\n" + did_you_mean(key, CONFIG_KEYS)
                )
        overrides = config.get("overrides", [])
        overrides = [overrides] if isinstance(overrides, str) else list(overrides)
        study = compose_study(root / "conf", str(config.get("study", DEFAULT_STUDY)), overrides)
        if overrides and not quiet:
            print(
                f"lookback: overrides of study '{study.name}': {' '.join(overrides)}",
                file=sys.stderr,
            )
        return make(root, study)
    except Exception as error:
        # All errors, even those of YAML, Hydra and the disk, are printed without a traceback.
        if os.environ.get(TRACEBACK):
            raise
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        hint = "" if isinstance(error, UserError) else f"\nSet {TRACEBACK}=1 to see the traceback."
        print("lookback: " + (text + hint).replace("\n", "\n          "), file=sys.stderr)
        sys.exit(2)


class Session:
    """One run of Snakemake, with the worker and the CPU time of all jobs."""

    def __init__(self, index: Path, code: str):
        self.index = index
        self.code = code
        self.started = time.monotonic()
        self._server: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="lookback-", dir=_short_folder())
        self.address = Path(self._folder.name) / "worker"
        self._ledger = Path(self._folder.name) / "usage.jsonl"

    def start(self) -> None:
        """Record that the study runs with this index file, and start the worker process."""
        start(self.index)
        os.environ[cpu_time.LEDGER] = str(self._ledger)
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "lookback.commands.worker", str(self.address)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": self.code},
        )
        os.environ[worker.SOCKET] = str(self.address)

    def end(self, log: Any) -> None:
        """Stop the worker process, and print each stage's CPU seconds with the function `log`."""
        if self._server and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()
        for line in self._costs():
            log(line)

    def _costs(self) -> Sequence[str]:
        """The lines of the table of CPU seconds by stage."""
        entries = []
        if self._ledger.exists():
            lines = self._ledger.read_text().splitlines()
            entries = [json.loads(line) for line in lines if line.endswith("}")]
        stages: dict[str, list[float]] = {}
        for entry in entries:
            work, rest = stages.setdefault(entry["stage"], [0.0, 0.0])
            stages[entry["stage"]] = [work + entry["work"], rest + entry["cpu"] - entry["work"]]
        counted = sum(entry["cpu"] for entry in entries if not entry["forked"])
        usages = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        # RUSAGE_CHILDREN includes the jobs that Snakemake started, so their time is subtracted.
        # RUSAGE_CHILDREN does not include the jobs that the worker process forked.
        stages["snakemake"] = [0.0, sum(u.ru_utime + u.ru_stime for u in usages) - counted]
        return _table(stages, time.monotonic() - self.started)


def _short_folder() -> str:
    """The folder for temporary files, or /tmp if a socket's path in it would be too long."""
    folder = tempfile.gettempdir()
    longest = worker.LONGEST - len("/lookback-xxxxxxxx/worker")
    return folder if len(os.fsencode(folder)) <= longest else "/tmp"


def _table(stages: Mapping[str, Sequence[float]], wall: float) -> list[str]:
    """A table of the CPU seconds of each stage.

    The column «work» counts the CPU time of training, evaluation and measurements. The column «the
    rest» counts all other CPU time of the stage.
    """
    work, rest = (sum(column) for column in zip(*stages.values(), strict=True))
    lines = ["", f"{'CPU seconds':<14}{'work':>9}{'the rest':>10}"]
    lines += [f"{stage:<14}{w:>9.1f}{r:>10.1f}" for stage, (w, r) in stages.items()]
    return [*lines, f"{'all':<14}{work:>9.1f}{rest:>10.1f}   in {wall:.0f} s"]
