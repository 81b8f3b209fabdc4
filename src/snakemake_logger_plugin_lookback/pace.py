"""Time to go, from the pace so far: of a cell by its journals, of a study by its finished jobs.

Cell: left = (steps to do) · (seconds spent) / (steps done in them) − (seconds since the last line).
Study: with w jobs side by side, left = max(the longest that runs, (all that runs and waits) / w);
no schedule is faster (Graham 1966, "Bounds for certain multiprocessing anomalies").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from snakemake_logger_plugin_lookback.journal import Seed

CLOCKS_DIFFER = 5.0  # seconds by which clocks of two machines may disagree


def share_done(seeds: Sequence[Seed], planned: int) -> float:
    """The part of a cell's steps that is done, 0 to 1; `planned` is its number of seeds."""
    return sum(1.0 if s.ended else s.step / s.steps for s in seeds) / max(planned, len(seeds), 1)


def cell_left(seeds: Sequence[Seed], planned: int, since: float, now: float) -> float | None:
    """Seconds until a cell's seeds are trained, or None where nothing tells the pace yet.

    Only what was trained since the job began (`since`) tells its pace: seeds of an earlier job
    count as done, and a resumed seed counts from the step that it resumed from.
    """
    if not seeds:
        return None
    ours = [s for s in seeds if s.started >= since - CLOCKS_DIFFER]
    trained = sum(s.step - s.started_from for s in ours)
    if trained <= 0:
        return None
    last = max(s.time for s in ours)
    pace = (last - min(s.started for s in ours)) / trained
    steps = max(s.steps for s in seeds)
    to_do = (1.0 - share_done(seeds, planned)) * max(planned, len(seeds)) * steps
    return max(0.0, to_do * pace - (now - last))


@dataclass(frozen=True)
class Running:
    """A running job: its rule, seconds since it began, seconds to go if a journal tells them."""

    rule: str
    elapsed: float
    left: float | None


@dataclass(frozen=True)
class StudyLeft:
    """Seconds to go; not `complete` where a job's time is unknown, so that it is a lower bound."""

    seconds: float
    complete: bool


def study_left(
    running: Sequence[Running],
    waiting: Mapping[str, int],
    finished: Mapping[str, Sequence[float]],
    side_by_side: int,
) -> StudyLeft | None:
    """Time to go for all jobs, or None where no time is known.

    `waiting` counts jobs by rule, `finished` holds the seconds that finished jobs took, by rule.
    """
    takes = {rule: mean(seconds) for rule, seconds in finished.items() if seconds}
    for rule in {job.rule for job in running} - takes.keys():
        told = [job.elapsed + job.left for job in running if job.rule == rule and job.left]
        if told:
            takes[rule] = mean(told)
    lefts, complete = [], True
    for job in running:
        if job.left is not None:
            lefts.append(job.left)
        elif job.rule in takes:
            lefts.append(max(0.0, takes[job.rule] - job.elapsed))
        else:
            complete = False
    complete = complete and all(rule in takes for rule, count in waiting.items() if count)
    to_come = sum(count * takes.get(rule, 0.0) for rule, count in waiting.items())
    seconds = max([*lefts, (sum(lefts) + to_come) / max(side_by_side, 1)])
    return StudyLeft(seconds, complete) if complete or seconds > 0 else None
