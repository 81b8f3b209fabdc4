"""A result file is valid if it exists and stores the digests of the plans that the study expects.

A plan is a file with the settings and the code version of a stage. After a failed retraining, the
measurements of the old model are still on disk. The measurements of an old model are outdated,
because their files store the digests of older plans.
"""

from collections.abc import Mapping
from pathlib import Path

from lookback.storage.provenance import plans_of

NOT_THERE = "not there"
OLDER = "of an older plan"


def lack(path: Path, plans: Mapping[str, str], log: Path) -> str:
    """Why the file `path` is missing, damaged or outdated, or an empty string if it is up to date.

    For a missing file, the reason quotes the last message in `log`, the log of the job that writes
    the file.
    """
    if not path.exists():
        message = last_message(log)
        return f"{NOT_THERE}; its log ends: {message}" if message else NOT_THERE
    named_plans = plans_of(path)
    if not named_plans:
        return "not whole: it names no plan"
    return "" if named_plans == dict(plans) else OLDER


def last_message(log: Path) -> str:
    """The last message «lookback: …» in a log with its indented lines, or else the last line."""
    if not log.exists():
        return ""
    lines = [
        line.rstrip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    lines = [line for line in lines if line]
    starts = [place for place, line in enumerate(lines) if line.startswith("lookback: ")]
    if not starts:
        return lines[-1].strip() if lines else ""
    message = [lines[starts[-1]]]
    for line in lines[starts[-1] + 1 :]:
        if not line.startswith(" "):
            break
        message.append(line.strip())
    return " ".join(message)
