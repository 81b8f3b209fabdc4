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
from lookback.commands.dispatch import DISK_ERRORS, disk_message
from lookback.commands.snakemake_options import require_slurm, study_and_overrides
from lookback.errors import TRACEBACK, UserError
from lookback.planning.plan import make, start
from lookback.planning.study import compose_study
from lookback.runtime import cpu_time
from lookback.storage.lock import hold, use_plans
from lookback.storage.secrets import VARIABLE, forget_empty_uri
from lookback.tracking.receipt import repeat_lost_tracking
from lookback.tracking.uri import TrackingURI

_LOCKS: list[TextIO] = []  # held until this process ends


def plan(
    root: Path,
    config: Mapping[str, Any],
    words: Sequence[str],
    *,
    nodes: int | None,
    dry_run: bool,
    quiet: bool,
) -> Path:
    """Plan the study that `snakemake --config` names, and return the path of its index file.

    `config` is Snakemake's reading of `words`, the entries of `--config`. `nodes` is Snakemake's
    number of jobs on a cluster, or None. The function first locks results/ until this process ends,
    because a plan could be out of date if another study ran between planning and locking. A dry run
    only keeps `lookback clean` from deleting plan files. If the study cannot be planned, the
    function prints a message and exits with status 2.
    """
    try:
        require_slurm(nodes)
        if not dry_run:
            _LOCKS.append(hold())
        _LOCKS.append(use_plans())
        forget_empty_uri()
        name, overrides = study_and_overrides(config, words)
        study = compose_study(root / "conf", name, overrides)
        uri = str(study.tracking["uri"])
        TrackingURI(uri)  # refuse a URI that MLflow cannot write to before anything is trained
        os.environ[VARIABLE] = uri  # stage track reads it: plans and arguments hold no secret
        if overrides and not quiet:
            print(
                f"lookback: overrides of study '{study.name}': {' '.join(overrides)}",
                file=sys.stderr,
            )
        if not quiet:
            for notice in study.notices:
                print(f"lookback: {notice}", file=sys.stderr)
        index = make(root, study)
        repeat_lost_tracking(index, uri)
        return index
    except Exception as error:
        # All errors, even those of YAML, Hydra and the disk, are printed without a traceback.
        if os.environ.get(TRACEBACK):
            raise
        if isinstance(error, UserError):
            text = str(error)
        elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
            text = disk_message(error, "snakemake")
        elif isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
            place = _in_the_way(Path(error.filename))
            text = f"{place} is not a folder. Move it away, so that a folder can be made."
        else:
            text = f"{type(error).__name__}: {error}\nSet {TRACEBACK}=1 to see the traceback."
        print("lookback: " + text.replace("\n", "\n          "), file=sys.stderr)
        sys.exit(2)


def _in_the_way(path: Path) -> Path:
    """The first part of `path` that exists and is not a folder, such as a file or a dead link."""
    parts = (*reversed(path.parents), path)
    return next((it for it in parts if os.path.lexists(it) and not it.is_dir()), path)


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
