"""The words on the terminal: names of jobs, reasons, durations, the last words of a log file."""

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
REPLANNED = "the result is of another plan"
FOLLOWS = ("other input files", "inputs will be new")  # said only where nothing else is the reason


def plain(text: str) -> str:
    """`text` without control characters, apart from line ends; a tab becomes a blank."""
    return NOT_FOR_A_TERMINAL.sub("", text.replace("\t", " ").replace("\r\n", "\n"))


def job_name(rule: str, wildcards: Mapping[str, Any]) -> str:
    """«train adding/gru», «probe adding/gru gradient_flow»: a run has one study, not named."""
    cell = "/".join(str(wildcards[key]) for key in ("task", "model") if key in wildcards)
    others = [str(wildcards[key]) for key in wildcards if key not in ("study", "task", "model")]
    return plain(" ".join(filter(None, [rule, cell, *others])))


def duration(seconds: float) -> str:
    """«38 s», «4 min 10 s», «23 min», «2 h 5 min»: two figures are enough for a person."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def last_words(logs: Iterable[str]) -> str:
    """Why a job failed: the last «lookback:» sentence in its log files, or else their last line."""
    lines: list[str] = []
    for log in logs:
        lines += [line for line in tail(Path(log)).splitlines() if line.strip()]
    said = [number for number, line in enumerate(lines) if line.startswith("lookback: ")]
    if said:
        first = said[-1]
        rest = [line.strip() for line in lines[first + 1 :]]
        indented = [line.startswith(" ") for line in lines[first + 1 :]]
        end = indented.index(False) if False in indented else len(rest)
        return " ".join([lines[first].removeprefix("lookback: "), *rest[:end]])
    return lines[-1].strip() if lines else "its command failed and left no word"


def tail(path: Path, size: int = 65536) -> str:
    """The last `size` bytes of a text file, without control characters; empty if unreadable."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return plain(file.read().decode("utf-8", "replace").replace("\r", "\n"))
    except OSError:
        return ""


def reason(text: str, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """Snakemake's reason for a job, shorter, and what was edited since its result, by name."""
    outputs = list(outputs)
    partly = any(Path(name).exists() for name in outputs)
    parts = [_shorter(part, partly) for part in split_reason(text)]
    edited = _edited(inputs, outputs)
    telling = [part for part in parts if part not in FOLLOWS and not (edited and part == REPLANNED)]
    return plain("; ".join([*edited, *telling] or parts)) or "no reason given"


def _edited(inputs: Iterable[str], outputs: Iterable[str]) -> list[str]:
    """What the plan among a job's inputs says other than the plan that its result names."""
    from lookback.planning.plan import differences
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
    """The parts of a reason; a «; » within a quoted parameter separates nothing."""
    heads = "Missing|Incomplete|Updated|Input files|Set of|Code has|Params have|Software"
    return [part.strip() for part in re.split(rf"; (?={heads})", text)]


def _shorter(part: str, partly: bool) -> str:
    head, _, files = part.partition(" files: ")
    names = sorted(files.split(", "))
    if found := PARAMS_BEFORE_AND_NOW.fullmatch(part):
        return _changes(found[1].strip(), found[2].strip())
    if head == "Missing output":
        missing = [Path(name).name for name in names]
        return f"not there yet: {few(missing)}" if partly else "not there yet"
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
    """Planning touches the plan of a result that names another one: that is the news then."""
    others = [name for name in names if "/.plan/" not in name]
    said = [REPLANNED] if len(others) < len(names) else []
    if others:
        said.append(f"changed: {few(others)}")
    return "; ".join(said)


def _changes(before: str, now: str) -> str:
    """«learning_rate 0.1 → 0.2, code of lookback.models.gru» from two lists of 'name: value'."""
    try:
        old, new = _settings(before), _settings(now)
    except (ValueError, SyntaxError):
        return f"was {before}, is now {now}"
    changes = [f"{name} {old.get(name, '–')} → {new.get(name, '–')}" for name in sorted(old | new)]
    return few(changes, 6)


def _settings(listed: str) -> dict[str, str]:
    """Snakemake lists parameters as Python writes them: 'a: 1','b: [2, 3]'.

    The rule train has its seeds without a name, «0,1,2», since its command takes them so.
    """
    if listed == NOTHING:
        return {}
    values = [str(value) for value in ast.literal_eval(f"[{listed}]")]
    pairs = [entry.partition(": ") for entry in values]
    return {name if colon else "seeds": value if colon else name for name, colon, value in pairs}


def few(names: Sequence[str], most: int = 2) -> str:
    """«a, b and 3 more»."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, what: str) -> str:
    """«1 job», «2 jobs»."""
    return f"{number} {what}{'' if number == 1 else 's'}"
