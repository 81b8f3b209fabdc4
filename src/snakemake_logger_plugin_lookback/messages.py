"""Texts of the terminal output: job names, reasons to run a job, durations, failure messages."""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_FOR_A_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.|[\x00-\x09\x0b-\x1f\x7f-\x9f]")
PARAMS_BEFORE_AND_NOW = re.compile(
    r"Params have changed since last execution: .*? before: (.*?) now: (.*)", re.DOTALL
)
NOTHING = "<nothing exclusive>"
REPLANNED = "the result is outdated, damaged or incomplete"
# The reasons to run a job that are printed only if the job has no other reason.
SECONDARY = ("other input files", "inputs will be new")


def plain(text: str) -> str:
    """The `text` without control characters except line ends, and with spaces instead of tabs."""
    return NOT_FOR_A_TERMINAL.sub("", text.replace("\t", " ").replace("\r\n", "\n"))


def job_name(rule: str, wildcards: Mapping[str, Any]) -> str:
    """The name of a job, such as «train adding/gru» or «probe adding/gru gradient_flow».

    The name of a job does not contain the name of the study, because all jobs of a Snakemake run
    belong to one study.
    """
    cell = "/".join(str(wildcards[key]) for key in ("task", "model") if key in wildcards)
    others = [str(wildcards[key]) for key in wildcards if key not in ("study", "task", "model")]
    return plain(" ".join(filter(None, [rule, cell, *others])))


def duration(seconds: float) -> str:
    """A duration in at most two units, such as «38 s», «4 min 10 s», «23 min» or «2 h 5 min»."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def failure_message(logs: Iterable[str]) -> str:
    """The last error message of lookback in the log files of a failed job, as one line.

    If the log files contain no error message of lookback, the result is the last line of the log
    files.
    """
    lines: list[str] = []
    for log in logs:
        lines += [line for line in tail(Path(log)).splitlines() if line.strip()]
    messages = [number for number, line in enumerate(lines) if line.startswith("lookback: ")]
    if messages:
        first = messages[-1]
        rest = [line.strip() for line in lines[first + 1 :]]
        indented = [line.startswith(" ") for line in lines[first + 1 :]]
        end = indented.index(False) if False in indented else len(rest)
        return " ".join([lines[first].removeprefix("lookback: "), *rest[:end]])
    return lines[-1].strip() if lines else "the command failed without a message"


def tail(path: Path, size: int = 65536) -> str:
    """The last `size` bytes of a text file, without control characters.

    The result is an empty text if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return plain(file.read().decode("utf-8", "replace").replace("\r", "\n"))
    except OSError:
        return ""


def reason(text: str, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """The reason to run a job, with the names of edited settings and Python modules.

    The argument `text` is Snakemake's reason, and `inputs` and `outputs` are the files of the job.
    """
    from lookback.planning.outdated_results import was_set_back

    outputs = list(outputs)
    some_exist = any(Path(name).exists() for name in outputs)
    parts = [_shorten(part, some_exist) for part in split_reason(text)]
    edits = _edits(inputs, outputs)
    primary = [part for part in parts if part not in SECONDARY]
    if any(was_set_back(name) for name in outputs):
        # All inputs are newer than a result that was set back, so Snakemake names all of them.
        primary = [REPLANNED]
    if edits:
        primary = [part for part in primary if part != REPLANNED]
    return plain("; ".join([*edits, *primary] or parts)) or "no reason given"


def _edits(inputs: Iterable[str], outputs: Iterable[str]) -> list[str]:
    """The settings and modules that changed since the existing results of a job were made.

    The returned list is empty or contains one text, which names at most six changes.
    """
    from lookback.planning.differences import differences
    from lookback.storage.provenance import plans_of

    plan = next((Path(name) for name in inputs if "/.plan/" in name), None)
    if plan is None:
        return []
    stage = plan.parent.name
    named = (plans_of(Path(name)).get(stage) for name in outputs if Path(name).is_file())
    before = next(filter(None, named), plan.stem)
    changes = differences(stage, before, plan.stem)
    return [few(changes, 6)] if changes else []


def split_reason(text: str) -> list[str]:
    """Split Snakemake's reason to run a job at semicolons, but not inside parameter values."""
    heads = "Missing|Incomplete|Updated|Input files|Set of|Code has|Params have|Software"
    return [part.strip() for part in re.split(rf"; (?={heads})", text)]


def _shorten(part: str, some_exist: bool) -> str:
    """A short text for one part of Snakemake's reason to run a job.

    The argument `some_exist` says whether an output file of the job exists.
    """
    head, _, files = part.partition(" files: ")
    names = sorted(files.split(", "))
    if match := PARAMS_BEFORE_AND_NOW.fullmatch(part):
        return _changes(match[1].strip(), match[2].strip())
    if head == "Missing output":
        missing = [Path(name).name for name in names]
        return f"not there yet: {few(missing)}" if some_exist else "not there yet"
    if head == "Incomplete output":
        return "left unfinished"
    if head == "Updated input":
        return _updated(names)
    if part.startswith("Input files updated by another job"):
        return "inputs will be new"
    if part.startswith("Set of input files has changed"):
        return "other input files"
    return "forced" if part == "Forced execution" else part


def _updated(names: list[str]) -> str:
    """A short reason to run a job whose input files are newer than its output files.

    A plan file that is newer than the result is reported with the text REPLANNED.
    """
    others = [name for name in names if "/.plan/" not in name]
    reasons = [REPLANNED] if len(others) < len(names) else []
    if others:
        reasons.append(f"changed: {few(others)}")
    return "; ".join(reasons)


def _changes(before: str, now: str) -> str:
    """The differences between two Snakemake parameter lists, such as «learning_rate 0.1 → 0.2»."""
    try:
        old, new = _settings(before), _settings(now)
    except (ValueError, SyntaxError):
        return f"was {before}, is now {now}"
    changes = [f"{name} {old.get(name, '–')} → {new.get(name, '–')}" for name in sorted(old | new)]
    return few(changes, 6)


def _settings(listed: str) -> dict[str, str]:
    """The values of a job's parameters by name, from a list in Snakemake's reason to run the job.

    Each string in the list contains the name of a parameter, a colon and the value. A string
    without a name, such as '0,1,2', lists the seeds of a job of the rule `train`.
    """
    if listed == NOTHING:
        return {}
    entries = [str(entry) for entry in ast.literal_eval(f"[{listed}]")]
    pairs = [entry.partition(": ") for entry in entries]
    return {name if colon else "seeds": value if colon else name for name, colon, value in pairs}


def few(names: Sequence[str], most: int = 2) -> str:
    """At most `most` of the names, and the number of the other names, such as «a, b and 3 more»."""
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural, such as «1 job» or «2 jobs»."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
