"""Tracks the running, finished and failed Snakemake jobs by reading Snakemake's log events."""

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from snakemake_logger_plugin_lookback.journal import Journals, Seed
from snakemake_logger_plugin_lookback.messages import job_name

SEEDS = re.compile(r"\bseeds='?\[?'?(\d+(?:\s*,\s*\d+)*)")


@dataclass
class Job:
    """A Snakemake job, as described by Snakemake's log event JOB_INFO."""

    rule: str
    name: str
    inputs: list[str]
    logs: list[str]
    command: str
    began: float = field(default_factory=time.time)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Create a Job from the log record of Snakemake's event JOB_INFO."""
        return cls(
            rule=record["rule_name"],
            name=job_name(record["rule_name"], dict(record["wildcards"] or {})),
            inputs=[str(name) for name in record["input"] or ()],
            logs=[str(name) for name in record["log"] or ()],
            command=record.get("shellcmd") or "",
        )

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that the job's shell command names, as in `lookback train … seeds=[0,1,2]`."""
        match = SEEDS.search(self.command)
        return [int(seed) for seed in match[1].split(",")] if match else []

    @cached_property
    def journals(self) -> Journals | None:
        """The training journals of a train job, or None for every other job.

        The input files of the job (plan file, task.json, tune.json) determine the folder of the
        journals.
        """
        plan = next((name for name in self.inputs if "/.plan/train/" in name), None)
        task = next((name for name in self.inputs if name.endswith("/task.json")), None)
        tuning = next((name for name in self.inputs if name.endswith("/tune.json")), None)
        if self.rule != "train" or plan is None or task is None:
            return None
        from lookback.storage.run_store import runs_folder

        runs = runs_folder(Path(plan), Path(task), Path(tuning) if tuning else None)
        return Journals(runs, self.seeds) if runs else None

    def follow(self) -> list[Seed]:
        """The training progress of each seed of a train job, or an empty list for any other job."""
        try:
            return self.journals.follow() if self.journals else []
        except (OSError, ValueError):  # an input file of the job cannot be read now
            return []


@dataclass(frozen=True)
class Progress:
    """The state of all Snakemake jobs at one moment."""

    running: list[Job]
    done: int
    failed: list[str]  # names of jobs
    total: int
    waiting: dict[str, int]  # number of jobs that have not started, by rule
    finished: dict[str, list[float]]  # durations of the finished jobs in seconds, by rule
    side_by_side: int  # maximum number of jobs that ran at the same time


class Jobs:
    """All jobs of one Snakemake run, except the job of the rule `all`, which does no work.

    The methods of the class Jobs can be called from any thread.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self._lock = threading.Lock()
        self._planned: dict[str, int] = {}
        self._known: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._failed: dict[int, str] = {}
        self._finished: dict[str, list[float]] = {}
        self._side_by_side = 0

    def plan(self, counts: Mapping[str, int]) -> None:
        """Store the number of planned jobs per rule from Snakemake's log event RUN_INFO."""
        self._planned = {rule: n for rule, n in counts.items() if rule not in ("all", "total")}

    @property
    def planned(self) -> dict[str, int]:
        """The number of jobs that Snakemake plans to run, by rule."""
        return self._planned

    def start(self, number: int, job: Job) -> None:
        """Record that a job starts or is retried.

        The argument `number` is Snakemake's job id.
        """
        with self._lock:
            self._known[number] = self._running[number] = job
            self._failed.pop(number, None)
            self._side_by_side = max(self._side_by_side, len(self._running))

    def finish(self, number: int) -> tuple[Job, float] | None:
        """Record that a job finished.

        Returns the job and its duration in seconds, or None if the job belongs to the rule `all`.
        """
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return None
            seconds = time.time() - job.began
            self._finished.setdefault(job.rule, []).append(seconds)
            return job, seconds

    def fail(self, number: int, rule: str) -> str:
        """Record that a job failed.

        Returns the name of the job, or the name of its rule if the job never started.
        """
        with self._lock:
            self._running.pop(number, None)
            known = self._known.get(number)
            self._failed[number] = known.name if known else rule
            return self._failed[number]

    @property
    def idle(self) -> bool:
        """Whether no job runs."""
        return not self._running

    def progress(self) -> Progress:
        """The current state of all Snakemake jobs."""
        with self._lock:
            started = Counter(job.rule for job in self._known.values())
            return Progress(
                running=list(self._running.values()),
                done=sum(map(len, self._finished.values())),
                failed=list(self._failed.values()),
                total=max(sum(self._planned.values()), len(self._known)),
                waiting={rule: max(0, n - started[rule]) for rule, n in self._planned.items()},
                finished={rule: list(seconds) for rule, seconds in self._finished.items()},
                side_by_side=self._side_by_side,
            )
