"""What only Snakemake's main process does: plan, hold results/, start the worker, add up the cost.

The Snakefile calls it; jobs never do.
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
from lookback.errors import TRACEBACK, UserError, nearest
from lookback.planning.plan import make, start
from lookback.planning.study import DEFAULT_STUDY, compose_study
from lookback.runtime import cpu_time
from lookback.storage.lock import hold

SAID = ("study", "overrides")  # what `--config` may say


def plan(root: Path, config: Mapping[str, Any], *, quiet: bool) -> Path:
    """Compose and plan the study that `--config` asks for; exits with status 2 on a mistake."""
    try:
        for key in config:
            if key not in SAID:
                found = nearest(key, SAID)
                near = f"Did you mean '{found}'? " if found else ""
                raise UserError(
                    f"--config does not know '{key}'.\n{near}There is: study, overrides."
                )
        overrides = config.get("overrides", [])
        overrides = [overrides] if isinstance(overrides, str) else list(overrides)
        study = compose_study(root / "conf", str(config.get("study", DEFAULT_STUDY)), overrides)
        if overrides and not quiet:
            print(
                f"lookback: study '{study.name}' is overridden: {' '.join(overrides)}",
                file=sys.stderr,
            )
        return make(root, study)
    except Exception as error:
        # YAML's, Hydra's and the disk's too: one sentence, the rest on request.
        if os.environ.get(TRACEBACK):
            raise
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        hint = "" if isinstance(error, UserError) else f"\n{TRACEBACK}=1 shows where."
        print("lookback: " + (text + hint).replace("\n", "\n          "), file=sys.stderr)
        sys.exit(2)


class Session:
    """One run of Snakemake over results/: its lock, its worker, and what it cost."""

    def __init__(self, index: Path, code: str):
        self.index = index
        self.code = code
        self.started = time.monotonic()
        self._lock: TextIO | None = None  # held until the process ends
        self._server: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="lookback-", dir=_short_folder())
        self.address = Path(self._folder.name) / "worker"
        self._ledger = Path(self._folder.name) / "usage.jsonl"

    def start(self) -> None:
        """Take results/ and start the worker; exits with status 2 where another run has it."""
        try:
            self._lock = hold()
        except UserError as mistake:
            print(f"lookback: {mistake}", file=sys.stderr)
            sys.exit(2)
        start(self.index)
        os.environ[cpu_time.LEDGER] = str(self._ledger)
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "lookback.commands.worker", str(self.address)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": self.code},
        )
        os.environ[worker.SOCKET] = str(self.address)

    def end(self, log: Any) -> None:
        """Stop the worker and say what the run cost, by stage."""
        if self._server and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()
        for line in self._costs():
            log(line)

    def _costs(self) -> Sequence[str]:
        entries = []
        if self._ledger.exists():
            lines = self._ledger.read_text().splitlines()
            entries = [json.loads(line) for line in lines if line.endswith("}")]
        stages: dict[str, list[float]] = {}
        for entry in entries:
            work, rest = stages.setdefault(entry["stage"], [0.0, 0.0])
            stages[entry["stage"]] = [work + entry["work"], rest + entry["cpu"] - entry["work"]]
        counted = sum(entry["cpu"] for entry in entries if not entry["forked"])
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        # Children that report themselves are in RUSAGE_CHILDREN too; forked ones are not.
        stages["snakemake"] = [0.0, sum(u.ru_utime + u.ru_stime for u in own) - counted]
        return _table(stages, time.monotonic() - self.started)


def _short_folder() -> str:
    """Where temporary files go, unless an address there were longer than a socket's may be."""
    folder = tempfile.gettempdir()
    longest = worker.LONGEST - len("/lookback-xxxxxxxx/worker")
    return folder if len(os.fsencode(folder)) <= longest else "/tmp"


def _table(stages: Mapping[str, Sequence[float]], wall: float) -> list[str]:
    work, rest = (sum(column) for column in zip(*stages.values(), strict=True))
    lines = ["", f"{'core-seconds':<14}{'work':>9}{'the rest':>10}"]
    lines += [f"{stage:<14}{w:>9.1f}{r:>10.1f}" for stage, (w, r) in stages.items()]
    return [*lines, f"{'all':<14}{work:>9.1f}{rest:>10.1f}   in {wall:.0f} s"]
