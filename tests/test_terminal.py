"""What a run shows: Snakemake itself runs a toy study, through a pipe and through a terminal.

pyte, a terminal emulator by others, says what a person would see.
"""

import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pyte
import pytest
from snakemake_interface_logger_plugins.tests import TestLogHandlerBase

from snakemake_logger_plugin_lookback import LogHandler, LogHandlerSettings
from snakemake_logger_plugin_lookback.jobs import Job, Jobs
from snakemake_logger_plugin_lookback.journal import Journal, Seed
from snakemake_logger_plugin_lookback.messages import REPLANNED, duration, failure_message, reason
from snakemake_logger_plugin_lookback.pace import Running, StudyLeft, cell_left, study_left
from snakemake_logger_plugin_lookback.progress_board import Board, crop, table
from snakemake_logger_plugin_lookback.terminal import Screen

SOURCE = Path(__file__).parents[1] / "src"

SNAKEFILE = """
import sys

onsuccess:
    print("the report: here\\nthe tables: there", file=sys.stderr)

rule all:
    input:
        expand("results/quick/adding/{model}/metrics.json", model=["gru", "rnn"]),

rule prepare:
    output:
        "results/quick/{task}/task.json",
    shell:
        "sleep ${{SLEEP:-0}}; echo 'a stray word' >&2; echo '{{}}' > {output}"

rule train:
    input:
        plan="results/.plan/train/{model}.yaml",
        task="results/quick/{task}/task.json",
    output:
        "results/quick/{task}/{model}/metrics.json",
    log:
        "results/quick/{task}/{model}/log/train.log",
    params:
        rate=f"recipe.learning_rate: {config.get('rate', 0.003)}",
        seeds=config.get("seeds", "0,1"),
        code=f"code of lookback.models.gru: {config.get('code', 'aaaaaa')}",
    shell:
        "{sys.executable} trainer.py plan={input.plan} task={input.task} seeds={params.seeds}"
        " {wildcards.model} > {log} 2>&1 && echo '{{}}' > {output}"
"""

TRAINER = """
import json, os, sys, time
from pathlib import Path
from lookback.storage.cell_paths import SeedPaths
from lookback.storage.run_store import runs_folder, seed_folder

print("epoch 1")
if os.environ.get("FAILS") == sys.argv[4]:
    sys.exit("lookback: \\x1b[1mstudy 'quick' has no 'gru'.\\x1b[0m\\n   Did you mean 'rnn'?")
plan = Path(f"results/.plan/train/{sys.argv[4]}.yaml")
runs = runs_folder(plan, Path("results/quick/adding/task.json"))
for seed in (0, 1):
    path = SeedPaths(seed_folder(runs, seed)).journal
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        def say(**entry):
            file.write(json.dumps({"time": time.time(), **entry}) + "\\n")
            file.flush()
        say(event="start", seed=seed, step=0, steps=1500)
        for step in range(100, 1501, 100):
            time.sleep(float(os.environ.get("SECONDS_A_STEP", 0)))
            say(step=step, split="train", values={"loss": 0.25})
            say(step=step, split="validation", values={"loss": 0.3, "accuracy": 0.875})
        say(event="end", step=1500)
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "trainer.py").write_text(TRAINER)
    (tmp_path / "results/.plan/train").mkdir(parents=True)
    for model in ("gru", "rnn"):
        (tmp_path / f"results/.plan/train/{model}.yaml").write_text(f'{{"model": "{model}"}}')
    return tmp_path


def command(*options):
    return [sys.executable, "-m", "snakemake", "--cores", "2", "--logger", "lookback", *options]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm", **more}


def through_pipes(folder, *options, **more):
    return subprocess.run(
        command(*options), cwd=folder, env=environment(**more), capture_output=True, text=True
    )


class Terminal:
    """A terminal of 24 rows that a command runs in; `seen` is each picture it showed."""

    def __init__(self, folder, *options, columns, **more):
        self.screen = pyte.Screen(columns, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            command(*options),
            cwd=folder,
            env=environment(**more),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.screen.resize(24, columns)

    def pictures(self):
        while True:
            try:
                written = os.read(self.master, 65536)
            except OSError:  # the last writer closed its end
                break
            self.stream.feed(written)
            yield [row.rstrip() for row in self.screen.display]
        self.process.wait()
        os.close(self.master)

    def text(self):
        return [row.rstrip() for row in self.screen.display if row.strip()]


def test_a_pipe_gets_one_line_an_event_without_control_characters(study):
    run = through_pipes(study, "--keep-going", FAILS="gru")
    assert run.returncode == 1
    assert run.stdout == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", run.stderr)
    timeless = re.sub(r"\d+ s\b", "_ s", run.stderr).splitlines()
    failed = (
        "FAILED train adding/gru: study 'quick' has no 'gru'. Did you mean 'rnn'?"
        "  (log: results/quick/adding/gru/log/train.log)"
    )
    assert sorted(timeless[:-1]) == [
        failed,
        "a stray word",
        "done  prepare adding  (_ s)",
        "done  train adding/rnn  (_ s)",
        "start prepare adding",
        "start train adding/gru",
        "start train adding/rnn",
    ]
    assert timeless[-1] == "done 2 of 3 jobs in _ s; 1 failed: train adding/gru"


def test_a_terminal_shows_a_board_that_follows_the_journals_and_vanishes(study):
    terminal = Terminal(study, columns=120, SECONDS_A_STEP="0.08", SLEEP="0.7")
    wide, narrow, prepared = [], [], []
    for picture in terminal.pictures():
        rows = [row for row in picture if row]
        if not prepared and any(row.startswith("  prepare adding") for row in rows):
            prepared = rows
        if not wide and sum("accuracy" in row for row in rows) == 2:
            wide = rows
            terminal.resize(40)
        elif wide and any("running" in row for row in rows):
            narrow = rows
    assert re.fullmatch(r"0 of 3 jobs done, 1 running, \d s so far", prepared[0])
    row = (
        r"  train adding/(gru|rnn)  █*░+ +\d+ %  seed [01] \([12] of 2\)  +\d+/1500"
        r"  loss 0.25  val. accuracy 0.875  \d+ s to go"
    )
    assert wide[0] == "a stray word"
    assert re.fullmatch(r"done  prepare adding  \(\d s\)", wide[1])
    assert re.fullmatch(r"1 of 3 jobs done, 2 running, \d+ s so far, about \d+ s to go", wide[2])
    assert [bool(re.fullmatch(row, shown)) for shown in wide[3:]] == [True, True]
    board = narrow[narrow.index(next(shown for shown in narrow if "running" in shown)) :]
    assert board[0].endswith("…")
    assert all(shown.startswith("  train adding/") for shown in board[1:])
    assert max(map(len, board)) == 39
    final = [re.sub(r"\d+ s\b", "_ s", shown) for shown in terminal.text()]
    assert final[:2] == ["a stray word", "done  prepare adding  (_ s)"]
    assert set(final[2:4]) == {"done  train adding/gru  (_ s)", "done  train adding/rnn  (_ s)"}
    assert final[4:] == ["the report: here", "the tables: there", "done 3 of 3 jobs in _ s"]


def test_a_dry_run_names_each_job_and_what_changed(study):
    fresh = through_pipes(study, "-n")
    assert fresh.stderr == ""
    assert fresh.stdout.splitlines() == [
        "would run prepare adding: not there yet",
        "would run train adding/gru: not there yet",
        "would run train adding/rnn: not there yet",
        "would run 3 jobs: 1 prepare, 2 train",
    ]
    assert through_pipes(study).returncode == 0
    changed = through_pipes(study, "-n", "--config", "rate=0.01", "code=bbbbbb", "seeds=0,1,2")
    what = "code of lookback.models.gru aaaaaa → bbbbbb, "
    what += "recipe.learning_rate 0.003 → 0.01, seeds 0,1 → 0,1,2"
    assert changed.stdout.splitlines() == [
        f"would run train adding/gru: {what}",
        f"would run train adding/rnn: {what}",
        "would run 2 jobs: 2 train",
    ]
    nothing = through_pipes(study, "-n")
    assert nothing.stdout.startswith("Nothing to be done")


@pytest.mark.parametrize("quiet", [["--quiet"], ["--quiet", "all"]])
def test_quiet_tells_failures_and_nothing_else(study, quiet):
    run = through_pipes(study, "--keep-going", *quiet, FAILS="gru")
    assert run.stdout == ""
    stray, failed = run.stderr.splitlines()
    assert stray == "a stray word"
    assert failed.startswith("FAILED train adding/gru: study 'quick' has no 'gru'.")


def seed(number, step, *, started=0.0, time, started_from=0, ended=False):
    return Seed(number, 1000, started, started_from, step, time, ended)


def test_time_to_go_of_a_cell_by_hand():
    """Seed 0 took 50 s for 1000 steps, seed 1 is at 400 after 20 s: 0.05 s a step, 1600 to do."""
    seeds = [seed(0, 1000, started=100, time=150, ended=True), seed(1, 400, started=150, time=170)]
    assert cell_left(seeds, 3, since=95, now=170) == pytest.approx(1600 * 0.05)
    assert cell_left(seeds, 3, since=95, now=173) == pytest.approx(1600 * 0.05 - 3)


def test_seeds_of_an_earlier_job_count_as_done_but_tell_no_pace():
    """Seed 1 resumed from 500 and did 100 steps in 10 s: 0.1 s a step, 400 to do."""
    kept = seed(0, 1000, started=0, time=1, ended=True)
    resumed = seed(1, 600, started=900, started_from=500, time=910)
    assert cell_left([kept, resumed], 2, since=890, now=910) == pytest.approx(40.0)
    assert cell_left([kept], 2, since=890, now=910) is None


def test_seeds_trained_together_share_the_pace():
    """Two seeds, each 100 steps in 10 s: 20 steps a second together, 1800 to do."""
    seeds = [seed(n, 100, started=0, time=10) for n in (0, 1)]
    assert cell_left(seeds, 2, since=0, now=10) == pytest.approx(90.0)


def test_a_seed_that_stopped_early_has_nothing_to_do():
    """Seed 0 ended at 500 of 1000 after 50 s; seed 1, at 500 after 50 s, has 500 at 0.1 s to do."""
    seeds = [seed(0, 500, started=0, time=50, ended=True), seed(1, 500, started=50, time=100)]
    assert cell_left(seeds, 2, since=0, now=100) == pytest.approx(50.0)


def test_time_to_go_of_a_study_by_hand():
    """Two at a time: 30 + (60 - 20) that run and 3 · 60 + 2 · 5 that wait make 260 s of work."""
    running = [Running("train", 30.0, 30.0), Running("train", 20.0, None)]
    waiting = {"train": 3, "probe": 2}
    finished = {"train": [50.0, 70.0], "probe": [5.0]}
    assert study_left(running, waiting, finished, 2) == StudyLeft(130.0, complete=True)


def test_the_longest_running_job_bounds_a_study():
    running = [Running("train", 0.0, 300.0), Running("train", 0.0, 10.0)]
    assert study_left(running, {}, {}, 2) == StudyLeft(300.0, complete=True)


def test_a_study_with_jobs_of_unknown_time_gets_a_lower_bound_or_nothing():
    running = [Running("train", 10.0, 30.0)]
    assert study_left(running, {"train": 1, "probe": 4}, {}, 1) == StudyLeft(70.0, complete=False)
    assert study_left([Running("train", 10.0, None)], {"probe": 4}, {}, 1) is None


def test_a_journal_is_read_on_and_read_anew_after_a_resume(tmp_path):
    path = tmp_path / "journal.jsonl"
    begin = {"time": 1, "event": "start", "seed": 3, "step": 0, "steps": 10}
    lines = [begin] + [
        {"time": 2 + n, "step": n, "split": "train", "values": {"loss": n}} for n in range(1, 5)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text[:-9])  # the last line is still being written
    journal = Journal(path)
    assert (journal.follow().step, journal.follow().loss) == (3, 3.0)
    with path.open("a") as file:
        file.write(text[-9:] + "not JSON\n")
    assert journal.follow().step == 4
    again = {"time": 9, "event": "start", "seed": 3, "step": 2, "steps": 10}
    shorter = tmp_path / "new"
    shorter.write_text("".join(json.dumps(line) + "\n" for line in [*lines[:3], again]))
    shorter.replace(path)
    seed = journal.follow()
    assert (seed.seed, seed.step, seed.started_from, seed.started, seed.loss) == (3, 2, 2, 9.0, 2.0)


def test_the_last_sentence_of_ours_is_the_reason_of_a_failure(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("lookback: first\nnoise\nlookback: no task.\n   Cure: add it.\nTraceback\n")
    assert failure_message([log]) == "no task. Cure: add it."
    log.write_text("  0%\r 50%\nValueError: \x1b[31mbad\x1b[0m\n\n")
    assert failure_message([log]) == "ValueError: bad"
    assert failure_message([tmp_path / "none"]) == "the command failed without a message"


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("Missing output files: a, b; Input files updated by another job: c", "not there yet"),
        ("Incomplete output files: a, b", "left unfinished"),
        ("Input files updated by another job: c", "inputs will be new"),
        ("Forced execution", "forced"),
        ("Updated input files: a, b, c", "changed: a, b and 1 more"),
        ("Updated input files: results/.plan/train/a.yaml", REPLANNED),
        ("Code has changed since last execution", "Code has changed since last execution"),
        (
            "Set of input files has changed since last execution; Params have changed since last "
            "execution: Union of exclusive params before and now across all output: "
            "before: 'layers: [1, 2]' now: \"name: 'a; b'\",'layers: [1]' ",
            "layers [1, 2] → [1], name – → 'a; b'",
        ),
    ],
)
def test_reasons_are_short_and_name_what_differs(said, short):
    assert reason(said, [], ["nowhere"]) == short


def test_a_job_with_some_of_its_files_names_those_that_miss():
    said = "Missing output files: cell/checkpoints/seed=3.ckpt"
    assert (
        reason(said, [], [__file__, "cell/checkpoints/seed=3.ckpt"]) == "not there yet: seed=3.ckpt"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (250, "4 min 10 s"), (1400, "23 min"), (7500, "2 h 5 min")],
)
def test_durations_are_for_a_person(seconds, said):
    assert duration(seconds) == said


def test_rows_are_never_wider_than_the_terminal():
    rows = [{"name": "train 記憶/gru", "bar": "█" * 10, "step": "1/2", "time": "1 s to go"}]
    for width in range(60):
        for row in table(rows, width):
            cropped = crop(row, width)
            emulated = pyte.Screen(max(width, 1), 2)
            pyte.Stream(emulated).feed(cropped)
            assert emulated.cursor.y == 0


@pytest.mark.parametrize("height", [2, 5, 24])
def test_many_jobs_never_fill_the_terminal(height):
    jobs = Jobs()
    for number in range(40):
        jobs.start(number, Job("probe", f"probe {number}", [], [], ""))
    rows = Board(jobs).rows(79, height)
    assert len(rows) <= min(9, height - 1)
    named = [row for row in rows if row.startswith("  probe")]
    more = [int(row.split()[1]) for row in rows if row.endswith("more")]
    assert height == 2 or len(named) + sum(more) == 40


def test_a_reader_that_went_away_stops_nothing():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    Screen(Closed()).line("done")


class TestWithSnakemakesOwnSuite(TestLogHandlerBase):
    """Snakemake's suite for logger plugins."""

    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return LogHandlerSettings()


def test_a_fault_is_reported_and_not_raised(capsys):
    common = SimpleNamespace(
        **dict.fromkeys(("dryrun", "nocolor", "printshellcmds", "stdout", "show_failed_logs")),
        quiet=None,
    )
    handler = LogHandler(common, LogHandlerSettings())
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "no such job", (), None)
    record.event = "run_info"  # without its counts
    handler.emit(record)
    assert "KeyError" in capsys.readouterr().err
