"""The live board: one row for the study and one row per running job, with training progress.

3 of 13 jobs done, 2 running, 1 min 12 s so far, about 3 min 5 s to go
  train adding/gru  █████░░░░░   51 %  seed 1 (2 of 3)   800/1500  val. mse 0.031  40 s to go
  prepare copy                                                                     3 s so far
"""

import time
from dataclasses import dataclass
from unicodedata import east_asian_width

from snakemake_logger_plugin_lookback.jobs import Job, Jobs, Progress
from snakemake_logger_plugin_lookback.journal import Seed
from snakemake_logger_plugin_lookback.messages import counted, duration, plain
from snakemake_logger_plugin_lookback.pace import Running, cell_left, share_done, study_left

MOST_ROWS = 9  # maximum number of board rows, without the empty row above the board
BAR = 10
COLUMNS = ("name", "bar", "percent", "seed", "step", "loss", "metric", "time")
LEAST_NEEDED_FIRST = ("loss", "seed", "step", "metric", "percent", "bar", "time")


@dataclass(frozen=True)
class Watched:
    """A running job with its training progress and with its elapsed and remaining seconds."""

    job: Job
    seeds: list[Seed]
    elapsed: float
    left: float | None

    @classmethod
    def of(cls, job: Job, now: float) -> "Watched":
        """Read the training journals of a running job at the Unix time `now` in seconds."""
        seeds = job.follow()
        return cls(job, seeds, now - job.began, cell_left(seeds, len(job.seeds), job.began, now))


class Board:
    """Formats the progress of all Snakemake jobs as rows of text for a terminal."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def rows(self, width: int, height: int) -> list[str]:
        """The board as at most `height` rows of at most `width` columns.

        The list of rows is empty if no job runs.
        """
        now = time.time()
        progress = self._jobs.progress()
        if not progress.running:
            return []
        watched = [Watched.of(job, now) for job in progress.running]
        watched.sort(key=lambda job: not job.seeds)
        room = min(MOST_ROWS, height - 1) - 1
        shown = watched if len(watched) <= room else watched[: max(room - 1, 0)]
        lines = [heading(progress, watched, now - self._jobs.began)]
        lines += table([cells(job) for job in shown], width - 2)
        if len(shown) < len(watched):
            lines.append(f"  and {len(watched) - len(shown)} more")
        return [crop(line, width) for line in lines[: max(height - 1, 0)]]


def heading(progress: Progress, watched: list[Watched], elapsed: float) -> str:
    """The first row of the board.

    For example, the row is «3 of 13 jobs done, 2 running, 40 s so far, about 3 min to go».
    """
    parts = [f"{progress.done} of {counted(progress.total, 'job')} done"]
    if progress.failed:
        parts.append(f"{len(progress.failed)} failed")
    parts += [f"{len(watched)} running", f"{duration(elapsed)} so far"]
    left = study_left(
        [Running(job.job.rule, job.elapsed, job.left) for job in watched],
        progress.waiting,
        progress.finished,
        progress.side_by_side,
    )
    if left:
        parts.append(f"{'about' if left.complete else 'at least'} {duration(left.seconds)} to go")
    return ", ".join(parts)


def cells(watched: Watched) -> dict[str, str]:
    """The texts in the board row of a running job, with column names as keys."""
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
    """Format rows with aligned columns, and omit columns until the table fits into `width`.

    The constant LEAST_NEEDED_FIRST is the order in which columns are omitted.
    """
    columns = [name for name in COLUMNS if any(row.get(name) for row in rows)]
    widths = {name: max(columns_of(row.get(name, "")) for row in rows) for name in columns}
    for name in LEAST_NEEDED_FIRST:
        if sum(widths[c] for c in columns) + 2 * (len(columns) - 1) <= width:
            break
        columns = [column for column in columns if column != name]
    return ["  " + "  ".join(pad(row.get(c, ""), widths[c]) for c in columns) for row in rows]


def columns_of(text: str) -> int:
    """The width of a text on a terminal, in columns.

    A wide character, such as a Chinese character, takes two columns.
    """
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def pad(text: str, width: int) -> str:
    """`text` padded with spaces to `width` columns."""
    return text + " " * (width - columns_of(text))


def crop(text: str, width: int) -> str:
    """The `text` cut to `width` columns, with «…» at the end if a part was cut off."""
    text = text.rstrip()
    if columns_of(text) <= width:
        return text
    while text and columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""
