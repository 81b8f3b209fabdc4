"""Snakemake logger plugin that prints one line per event and, on a terminal, a live board below.

Snakemake finds the plugin by the package name, which starts with `snakemake_logger_plugin_`. The
option `--logger lookback`, on Snakemake's command line or in a profile, replaces the terminal
output of Snakemake by the output of this plugin. Snakemake still writes its full log to
.snakemake/log/.
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

from snakemake_logger_plugin_lookback.jobs import Job, Jobs
from snakemake_logger_plugin_lookback.messages import (
    counted,
    duration,
    failure_message,
    plain,
    reason,
    tail,
)
from snakemake_logger_plugin_lookback.progress_board import Board
from snakemake_logger_plugin_lookback.terminal import Screen

RED, GREEN = 31, 32

# A message that starts with a text in NOISE is shown only if it is a warning or an error.
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
# A Snakemake message that starts with one of the texts in DUPLICATES is never shown.
# This plugin reports a failed job in a line «FAILED …» and in the closing line.
DUPLICATES = (
    "RuleException:\nCalledProcessError in file",
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully",
)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of this plugin on Snakemake's command line, such as `--logger-lookback-board`."""

    board: str = field(
        default="auto",
        metadata={"help": "Live board: auto (only on a terminal) or no.", "required": False},
    )


class LogHandler(LogHandlerBase):
    """Prints Snakemake's events as lines.

    This handler, not Snakemake, filters the log records, so that errors are shown even with
    `--quiet`.
    """

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose stdout or stderr as Snakemake does, and start the live board on a terminal."""
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
        self._dry_run_jobs: list[tuple[str, str]] = []
        self._screen = Screen(stream)
        if self._live:
            self._screen.show(Board(self._jobs).rows)
        self._events = {
            LogEvent.RUN_INFO: self._plan,
            LogEvent.JOB_INFO: self._list_dry_run if common.dryrun else self._start,
            LogEvent.JOB_FINISHED: self._finish,
            LogEvent.JOB_ERROR: self._fail,
            LogEvent.SHELLCMD: self._command,
        }

    def emit(self, record: LogRecord) -> None:
        """Print a log record.

        An exception in the handler is reported but never stops the Snakemake run.
        """
        try:
            event = getattr(record, "event", None)
            if event in self._events:
                self._events[event](vars(record))
            elif event in (None, LogEvent.ERROR):
                self._message(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Remove the live board and print the closing line, which summarises the run.

        The closing line is printed only once, even if Snakemake calls `close` twice.
        """
        try:
            self._screen.close()
            if self._closing_line:
                self._closing_line = False
                self._close_dry_run() if self.common_settings.dryrun else self._close_run()
        finally:
            super().close()

    def _plan(self, record: dict[str, Any]) -> None:
        self._jobs.plan(record["stats"])

    def _list_dry_run(self, record: dict[str, Any]) -> None:
        if record["rule_name"] != "all" and not self._quiet:
            why = reason(record["reason"], record["input"] or (), record["output"])
            self._dry_run_jobs.append((record["rule_name"], f"{Job.of(record).name}: {why}"))

    def _start(self, record: dict[str, Any]) -> None:
        if record["rule_name"] == "all":
            return
        job = Job.of(record)
        self._jobs.start(record["jobid"], job)
        if not (self._live or self._quiet):
            self._screen.line(f"start {job.name}")

    def _finish(self, record: dict[str, Any]) -> None:
        finished = self._jobs.finish(record["job_id"])
        self._clear_if_idle()
        if finished and not self._quiet:
            job, seconds = finished
            self._screen.line(f"{self._paint('done', GREEN)}  {job.name}  ({duration(seconds)})")

    def _fail(self, record: dict[str, Any]) -> None:
        name = self._jobs.fail(record["jobid"], record["rule_name"])
        self._clear_if_idle()
        logs = [str(log) for log in record["log"]]
        log_names = f"  (log: {', '.join(logs)})" if logs else ""
        message = f"{name}: {failure_message(logs)}{log_names}"
        self._screen.line(f"{self._paint('FAILED', RED)} {message}")
        if self.common_settings.show_failed_logs:
            for log in logs:
                self._screen.line(tail(Path(log)).rstrip())

    def _clear_if_idle(self) -> None:
        """Erase the live board if no job runs.

        After the erasure, output of Snakemake's `onsuccess:` section starts directly below the last
        printed line.
        """
        if self._jobs.idle:
            self._screen.clear()

    def _command(self, record: dict[str, Any]) -> None:
        if self.common_settings.printshellcmds and record.get("shellcmd") and not self._quiet:
            self._screen.line(plain(record["shellcmd"]))

    def _message(self, record: LogRecord) -> None:
        text = plain(record.getMessage()).rstrip()
        lowest_level = ERROR if self._quiet else 0
        is_noise = text.startswith(NOISE) and record.levelno < WARNING
        is_shown = record.levelno >= lowest_level and not is_noise
        if is_shown and text and not text.startswith(DUPLICATES):
            self._screen.line(text)

    def _close_dry_run(self) -> None:
        counts = self._jobs.planned
        order = list(counts)  # rule names in the topological order of Snakemake's job graph
        for _, job in sorted(
            self._dry_run_jobs, key=lambda entry: (order.index(entry[0]), entry[1])
        ):
            self._screen.line(f"would run {job}")
        if counts:
            by_rule = ", ".join(f"{count} {rule}" for rule, count in counts.items())
            self._screen.line(f"would run {counted(sum(counts.values()), 'job')}: {by_rule}")

    def _close_run(self) -> None:
        progress = self._jobs.progress()
        if self._quiet or not (progress.running or progress.done or progress.failed):
            return
        elapsed = duration(time.time() - self._jobs.began)
        parts = [f"done {progress.done} of {counted(progress.total, 'job')} in {elapsed}"]
        if progress.failed:
            parts.append(f"{len(progress.failed)} failed: {', '.join(progress.failed)}")
        not_run = progress.total - progress.done - len(progress.failed)
        if not_run:
            parts.append(f"{not_run} not run")
        self._screen.line("; ".join(parts))

    def _paint(self, word: str, colour: int) -> str:
        return f"\x1b[{colour}m{word}\x1b[0m" if self._colour else word
