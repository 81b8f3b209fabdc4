"""The live board: one row for the study, one for each running job, a train job with its journals.

3 of 13 jobs done, 2 running, 1 min 12 s so far, about 3 min 5 s to go
  train adding/gru  █████░░░░░   51 %  seed 1 (2 of 3)   800/1500  val. mse 0.031  40 s to go
  prepare copy                                                                     3 s so far
"""

import time
from dataclasses import dataclass
from unicodedata import east_asian_width

from snakemake_logger_plugin_lookback.jobs import Job, Jobs, Standing
from snakemake_logger_plugin_lookback.journal import Seed
from snakemake_logger_plugin_lookback.pace import Running, cell_left, share_done, study_left
from snakemake_logger_plugin_lookback.words import counted, duration, plain

MOST_ROWS = 9  # ten with the empty row that the screen keeps above them
BAR = 10
COLUMNS = ("name", "bar", "percent", "seed", "step", "loss", "metric", "time")
LEAST_NEEDED_FIRST = ("loss", "seed", "step", "metric", "percent", "bar", "time")


@dataclass(frozen=True)
class Watched:
    """A running job with what its journals say."""

    job: Job
    seeds: list[Seed]
    elapsed: float
    left: float | None

    @classmethod
    def of(cls, job: Job, now: float) -> "Watched":
        """Look at a job."""
        seeds = job.follow()
        return cls(job, seeds, now - job.began, cell_left(seeds, len(job.seeds), job.began, now))


class Board:
    """Draws how the jobs stand."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def rows(self, width: int, height: int) -> list[str]:
        """At most `height` rows of at most `width` columns; none where no job runs."""
        now = time.time()
        standing = self._jobs.standing()
        if not standing.running:
            return []
        watched = [Watched.of(job, now) for job in standing.running]
        watched.sort(key=lambda w: not w.seeds)
        room = min(MOST_ROWS, height - 1) - 1
        shown = watched if len(watched) <= room else watched[: max(room - 1, 0)]
        lines = [heading(standing, watched, now - self._jobs.began)]
        lines += table([cells(w) for w in shown], width - 2)
        if len(shown) < len(watched):
            lines.append(f"  and {len(watched) - len(shown)} more")
        return [crop(line, width) for line in lines[: max(height - 1, 0)]]


def heading(standing: Standing, watched: list[Watched], elapsed: float) -> str:
    """«3 of 13 jobs done, 1 failed, 2 running, 1 min 12 s so far, about 3 min to go»."""
    said = [f"{standing.done} of {counted(standing.total, 'job')} done"]
    if standing.failed:
        said.append(f"{len(standing.failed)} failed")
    said += [f"{len(watched)} running", f"{duration(elapsed)} so far"]
    left = study_left(
        [Running(w.job.rule, w.elapsed, w.left) for w in watched],
        standing.waiting,
        standing.finished,
        standing.side_by_side,
    )
    if left:
        said.append(f"{'about' if left.complete else 'at least'} {duration(left.seconds)} to go")
    return ", ".join(said)


def cells(watched: Watched) -> dict[str, str]:
    """The cells of a running job's row, by column."""
    row = {"name": watched.job.name, "time": f"{duration(watched.elapsed)} so far"}
    if watched.left is not None:
        row["time"] = f"{duration(watched.left)} to go"
    if not watched.seeds:
        return row
    planned = max(len(watched.job.seeds), len(watched.seeds))
    share = share_done(watched.seeds, planned)
    full = int(share * BAR)
    row |= {"bar": "█" * full + "░" * (BAR - full), "percent": f"{int(share * 100):3d} %"}
    latest = max(watched.seeds, key=lambda s: (not s.ended, s.time))
    ended = sum(s.ended for s in watched.seeds)
    if ended == planned:
        return row | {"seed": f"{counted(planned, 'seed')} trained", "time": "writing results"}
    number = min(ended + 1, planned)
    row["seed"] = f"seed {latest.seed} ({number} of {planned})"
    row["step"] = f"{latest.step:>{len(str(latest.steps))}}/{latest.steps}"
    row["loss"] = "" if latest.loss is None else f"loss {latest.loss:.3g}"
    if latest.metric is not None:
        row["metric"] = plain(f"val. {latest.metric[0]} {latest.metric[1]:.3g}")
    return row


def table(rows: list[dict[str, str]], width: int) -> list[str]:
    """Rows with their columns aligned; columns that are needed least go until the rest fits."""
    columns = [name for name in COLUMNS if any(row.get(name) for row in rows)]
    widths = {name: max(columns_of(row.get(name, "")) for row in rows) for name in columns}
    for name in LEAST_NEEDED_FIRST:
        if sum(widths[c] for c in columns) + 2 * (len(columns) - 1) <= width:
            break
        columns = [column for column in columns if column != name]
    return ["  " + "  ".join(pad(row.get(c, ""), widths[c]) for c in columns) for row in rows]


def columns_of(text: str) -> int:
    """The columns that a text takes on a terminal: Chinese and the like take two a letter."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def pad(text: str, width: int) -> str:
    """`text` with blanks up to `width` columns."""
    return text + " " * (width - columns_of(text))


def crop(text: str, width: int) -> str:
    """`text` cut to `width` columns, with «…» where something is cut."""
    text = text.rstrip()
    if columns_of(text) <= width:
        return text
    while text and columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""
