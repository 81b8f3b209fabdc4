"""Estimates the remaining time of a cell from its journals and of a study from its finished jobs.

Cell: left = steps to do · (seconds spent / steps done) − seconds since the last journal entry.
Study: left = max(longest running job, (running + waiting work) / w) for w jobs at the same time.
No schedule of the jobs is faster than the estimate of a study [graham1966].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from snakemake_logger_plugin_lookback.journal import Seed

CLOCK_DIFFERENCE = 5.0  # largest assumed clock difference of two machines, in seconds


def share_done(seeds: Sequence[Seed], planned: int) -> float:
    """The finished share of a cell's training steps, 0 to 1; `planned` is the number of seeds."""
    return sum(1.0 if s.ended else s.step / s.steps for s in seeds) / max(planned, len(seeds), 1)


def cell_left(seeds: Sequence[Seed], planned: int, since: float, now: float) -> float | None:
    """Seconds until all seeds of a cell are trained; None if no step was trained yet.

    Only steps that were trained since the job began (`since`) determine the pace. Seeds of an
    earlier job count as done, and a resumed seed counts from the step at which it resumed.
    """
    if not seeds:
        return None
    of_this_job = [s for s in seeds if s.started >= since - CLOCK_DIFFERENCE]
    trained = sum(s.step - s.started_from for s in of_this_job)
    if trained <= 0:
        return None
    last = max(s.time for s in of_this_job)
    pace = (last - min(s.started for s in of_this_job)) / trained
    steps = max(s.steps for s in seeds)
    to_do = (1.0 - share_done(seeds, planned)) * max(planned, len(seeds)) * steps
    return max(0.0, to_do * pace - (now - last))


@dataclass(frozen=True)
class Running:
    """A running job with its elapsed and remaining seconds."""

    rule: str
    elapsed: float
    left: float | None  # None if no journal shows the pace


@dataclass(frozen=True)
class StudyLeft:
    """Remaining seconds of a study.

    If the duration of some job is unknown, `complete` is false and `seconds` is a lower bound.
    """

    seconds: float
    complete: bool


def study_left(
    running: Sequence[Running],
    waiting: Mapping[str, int],
    finished: Mapping[str, Sequence[float]],
    side_by_side: int,
) -> StudyLeft | None:
    """The remaining time of all jobs of a study; None if the duration of no job is known.

    `waiting` is the number of jobs of each rule that have not started. `finished` contains the
    durations of the finished jobs of each rule, in seconds.
    """
    durations = {rule: mean(seconds) for rule, seconds in finished.items() if seconds}
    for rule in {job.rule for job in running} - durations.keys():
        estimates = [job.elapsed + job.left for job in running if job.rule == rule and job.left]
        if estimates:
            durations[rule] = mean(estimates)
    lefts, complete = [], True
    for job in running:
        if job.left is not None:
            lefts.append(job.left)
        elif job.rule in durations:
            lefts.append(max(0.0, durations[job.rule] - job.elapsed))
        else:
            complete = False
    complete = complete and all(rule in durations for rule, count in waiting.items() if count)
    waiting_seconds = sum(count * durations.get(rule, 0.0) for rule, count in waiting.items())
    seconds = max([*lefts, (sum(lefts) + waiting_seconds) / max(side_by_side, 1)])
    return StudyLeft(seconds, complete) if complete or seconds > 0 else None
