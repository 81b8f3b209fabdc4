"""The jobs of a run of Snakemake as its events tell them: what runs, what is done, what failed."""

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
from snakemake_logger_plugin_lookback.words import job_name

SEEDS = re.compile(r"\bseeds='?\[?'?(\d+(?:\s*,\s*\d+)*)")


@dataclass
class Job:
    """A job, from Snakemake's JOB_INFO."""

    rule: str
    name: str
    inputs: list[str]
    logs: list[str]
    command: str
    began: float = field(default_factory=time.time)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """The job that a JOB_INFO record tells of."""
        return cls(
            rule=record["rule_name"],
            name=job_name(record["rule_name"], dict(record["wildcards"] or {})),
            inputs=[str(name) for name in record["input"] or ()],
            logs=[str(name) for name in record["log"] or ()],
            command=record.get("shellcmd") or "",
        )

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that the job's command asks for: `lookback train … seeds=[0,1,2]`."""
        found = SEEDS.search(self.command)
        return [int(seed) for seed in found[1].split(",")] if found else []

    @cached_property
    def journals(self) -> Journals | None:
        """The journals of a train job, which the plan and the task among its inputs lead to."""
        plan = next((name for name in self.inputs if "/.plan/train/" in name), None)
        task = next((name for name in self.inputs if name.endswith("/task.json")), None)
        tuning = next((name for name in self.inputs if name.endswith("/tune.json")), None)
        if self.rule != "train" or plan is None or task is None:
            return None
        from lookback.storage.run_store import runs_folder

        runs = runs_folder(Path(plan), Path(task), Path(tuning) if tuning else None)
        return Journals(runs, self.seeds) if runs else None

    def follow(self) -> list[Seed]:
        """What the seeds of a train job have reached; nothing for other jobs."""
        try:
            return self.journals.follow() if self.journals else []
        except (OSError, ValueError):  # task.json is not to be read just now
            return []


@dataclass(frozen=True)
class Standing:
    """How a run stands at one moment."""

    running: list[Job]
    done: int
    failed: list[str]
    total: int
    waiting: dict[str, int]
    finished: dict[str, list[float]]
    side_by_side: int


class Jobs:
    """All jobs of a run; its methods may be called from any thread.

    The rule `all` only names files: it is no job to a person, and is left out.
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
        """Take Snakemake's count of jobs by rule."""
        self._planned = {rule: n for rule, n in counts.items() if rule not in ("all", "total")}

    @property
    def planned(self) -> dict[str, int]:
        """Jobs to run, by rule."""
        return self._planned

    def start(self, number: int, job: Job) -> None:
        """A job begins, or is tried again."""
        with self._lock:
            self._known[number] = self._running[number] = job
            self._failed.pop(number, None)
            self._side_by_side = max(self._side_by_side, len(self._running))

    def finish(self, number: int) -> tuple[Job, float] | None:
        """A job is done: the job and its seconds, or None for the rule `all`."""
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return None
            seconds = time.time() - job.began
            self._finished.setdefault(job.rule, []).append(seconds)
            return job, seconds

    def fail(self, number: int, rule: str) -> str:
        """A job failed: its name, or its rule's where nothing was heard of it before."""
        with self._lock:
            self._running.pop(number, None)
            known = self._known.get(number)
            self._failed[number] = known.name if known else rule
            return self._failed[number]

    @property
    def idle(self) -> bool:
        """Whether no job runs."""
        return not self._running

    def standing(self) -> Standing:
        """How the run stands now."""
        with self._lock:
            seen = Counter(job.rule for job in self._known.values())
            return Standing(
                running=list(self._running.values()),
                done=sum(map(len, self._finished.values())),
                failed=list(self._failed.values()),
                total=max(sum(self._planned.values()), len(self._known)),
                waiting={rule: max(0, n - seen[rule]) for rule, n in self._planned.items()},
                finished={rule: list(seconds) for rule, seconds in self._finished.items()},
                side_by_side=self._side_by_side,
            )
