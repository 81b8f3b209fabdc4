"""What the terminal shows of a run: one line an event, and on a terminal a live board below.

Snakemake finds this package by its name; `--logger lookback`, or `logger: lookback` in a profile,
puts it in the place of Snakemake's own output, which stays whole in .snakemake/log/.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from snakemake_logger_plugin_lookback.board import Board
from snakemake_logger_plugin_lookback.jobs import Job, Jobs
from snakemake_logger_plugin_lookback.screen import Screen
from snakemake_logger_plugin_lookback.words import (
    counted,
    duration,
    last_words,
    plain,
    reason,
    tail,
)

RED, GREEN = 31, 32

# What Snakemake says on the way and a reader need not know; all else passes.
NOISE = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Using shell:",
    "Provided remote nodes:",
    "Select jobs to execute",
    "Shutting down, this might take some time",
    "Complete log(s):",
    "Elapsed time:",
    "Removing temporary output",
    "Reasons:",
    "Some jobs were triggered by provenance",
    "Rules with provenance triggered jobs:",
    "This was a dry-run",
    "SLURM run ID:",
)
# What a line «FAILED …» and the closing line have said already.
SAID_ALREADY = (
    "RuleException:\nCalledProcessError in file",
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings, as `--logger-lookback-<name>`."""

    board: str = field(
        default="auto",
        metadata={"help": "The live board: auto (on a terminal) or no.", "required": False},
    )


class LogHandler(LogHandlerBase):
    """Turns Snakemake's events into lines; its own filter, so that `--quiet` still tells errors."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose the stream as Snakemake does: stdout for a dry run, else stderr."""
        common = self.common_settings
        stream = sys.stdout if common.stdout else sys.stderr
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        quietness = {choice.name for choice in common.quiet or ()}
        self._quiet = bool(quietness & {"ALL", "RULES", "PROGRESS"})
        self._colour = terminal and not common.nocolor and "NO_COLOR" not in os.environ
        board = self.settings.board if isinstance(self.settings, LogHandlerSettings) else "auto"
        self._live = terminal and board == "auto" and not (common.dryrun or self._quiet)
        self._closing_line = True
        self._jobs = Jobs()
        self._would: list[tuple[str, str]] = []
        self._screen = Screen(stream)
        if self._live:
            self._screen.show(Board(self._jobs).rows)
        self._events = {
            LogEvent.RUN_INFO: self._plan,
            LogEvent.JOB_INFO: self._would_run if common.dryrun else self._start,
            LogEvent.JOB_FINISHED: self._finish,
            LogEvent.JOB_ERROR: self._fail,
            LogEvent.SHELLCMD: self._command,
        }

    def emit(self, record: LogRecord) -> None:
        """Show a record; a fault in here is reported and never stops a study."""
        try:
            event = getattr(record, "event", None)
            if event in self._events:
                self._events[event](vars(record))
            elif event in (None, LogEvent.ERROR):
                self._message(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Take the board away and say how it went; Snakemake calls this more than once."""
        try:
            self._screen.close()
            if self._closing_line:
                self._closing_line = False
                self._close_dry_run() if self.common_settings.dryrun else self._close_run()
        finally:
            super().close()

    def _plan(self, record: dict[str, Any]) -> None:
        self._jobs.plan(record["stats"])

    def _would_run(self, record: dict[str, Any]) -> None:
        if record["rule_name"] != "all" and not self._quiet:
            why = reason(record["reason"], record["input"] or (), record["output"])
            self._would.append((record["rule_name"], f"{Job.of(record).name}: {why}"))

    def _start(self, record: dict[str, Any]) -> None:
        if record["rule_name"] == "all":
            return
        job = Job.of(record)
        self._jobs.start(record["jobid"], job)
        if not (self._live or self._quiet):
            self._screen.line(f"start {job.name}")

    def _finish(self, record: dict[str, Any]) -> None:
        finished = self._jobs.finish(record["job_id"])
        self._leave_to_others()
        if finished and not self._quiet:
            job, seconds = finished
            self._screen.line(f"{self._paint('done', GREEN)}  {job.name}  ({duration(seconds)})")

    def _fail(self, record: dict[str, Any]) -> None:
        name = self._jobs.fail(record["jobid"], record["rule_name"])
        self._leave_to_others()
        logs = [str(log) for log in record["log"]]
        named = f"  (log: {', '.join(logs)})" if logs else ""
        self._screen.line(f"{self._paint('FAILED', RED)} {name}: {last_words(logs)}{named}")
        if self.common_settings.show_failed_logs:
            for log in logs:
                self._screen.line(tail(Path(log)).rstrip())

    def _leave_to_others(self) -> None:
        """With no job running the board goes at once: what `onsuccess:` prints stands alone."""
        if self._jobs.idle:
            self._screen.clear()

    def _command(self, record: dict[str, Any]) -> None:
        if self.common_settings.printshellcmds and record.get("shellcmd") and not self._quiet:
            self._screen.line(plain(record["shellcmd"]))

    def _message(self, record: LogRecord) -> None:
        text = plain(record.getMessage()).rstrip()
        least = ERROR if self._quiet else 0
        known = text.startswith(NOISE) and record.levelno < WARNING
        if record.levelno >= least and text and not known and not text.startswith(SAID_ALREADY):
            self._screen.line(text)

    def _close_dry_run(self) -> None:
        counts = self._jobs.planned
        order = list(counts)  # Snakemake counts the rules in the order of the flow
        for _, job in sorted(self._would, key=lambda would: (order.index(would[0]), would[1])):
            self._screen.line(f"would run {job}")
        if counts:
            by_rule = ", ".join(f"{count} {rule}" for rule, count in counts.items())
            self._screen.line(f"would run {counted(sum(counts.values()), 'job')}: {by_rule}")

    def _close_run(self) -> None:
        standing = self._jobs.standing()
        if self._quiet or not (standing.running or standing.done or standing.failed):
            return
        took = duration(time.time() - self._jobs.began)
        said = [f"done {standing.done} of {counted(standing.total, 'job')} in {took}"]
        if standing.failed:
            said.append(f"{len(standing.failed)} failed: {', '.join(standing.failed)}")
        rest = standing.total - standing.done - len(standing.failed)
        if rest:
            said.append(f"{rest} not run")
        self._screen.line("; ".join(said))

    def _paint(self, word: str, colour: int) -> str:
        return f"\x1b[{colour}m{word}\x1b[0m" if self._colour else word
