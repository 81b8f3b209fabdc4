"""Estimates the remaining time of a train job and of a whole study.

The estimate for a train job uses the training journals of the networks that the job trains:

    left = steps to do · (seconds spent / steps done) − seconds since the last journal entry

The estimate for a study uses the durations of finished jobs and w, the number of jobs at a time:

    left = max(longest running job, (running + waiting work) / w)

No schedule of the jobs of a study is faster than the estimate for the study [graham1966].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from snakemake_logger_plugin_lookback.journal import Seed

CLOCK_DIFFERENCE = 5.0  # assumed maximum clock difference between two machines, in seconds


def share_done(seeds: Sequence[Seed], planned: int) -> float:
    """The share of training steps that are finished, from 0 to 1, for one task and one model.

    The argument `planned` is the planned number of seeds for the task and the model.
    """
    return sum(1.0 if s.ended else s.step / s.steps for s in seeds) / max(planned, len(seeds), 1)


def cell_left(seeds: Sequence[Seed], planned: int, since: float, now: float) -> float | None:
    """The estimated seconds until all networks of one task and one model are trained.

    The result is None if the current job has not trained a step yet. The argument `since` is the
    Unix time in seconds at which the current job started. The seconds per step are measured only on
    the training steps of the current job. A network counts as done if an earlier job finished the
    training of the network. If the training of a network was resumed, the seconds per step are
    measured only after the resumption.
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
    left: float | None  # None if no training journal shows the speed of the job


@dataclass(frozen=True)
class StudyLeft:
    """The estimated remaining seconds of a study.

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
    """The estimated remaining time of all jobs of a study.

    The result is None if no job has a known duration. The argument `waiting` maps each rule to the
    number of its jobs that have not started. The argument `finished` maps each rule to the
    durations of its finished jobs in seconds.
    """
    durations = {rule: mean(seconds) for rule, seconds in finished.items() if seconds}
    for rule in {job.rule for job in running} - durations.keys():
        estimates = [
            job.elapsed + job.left for job in running if job.rule == rule and job.left is not None
        ]
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
