"""Whether a result is there and of today's plans; and if not, why.

After a failed retraining the measurements of the old model still lie beside the hole it left, so
a result counts only if the plans that it names are exactly those that the study expects.
"""

from collections.abc import Mapping
from pathlib import Path

from lookback.storage.provenance import plans_of

NOT_THERE = "not there"
OLDER = "of an older plan"


def lack(path: Path, plans: Mapping[str, str], log: Path) -> str:
    """Why the result at `path` does not count: one clause, empty where it does.

    For a result that is not there, the last word of the log of the job that should have made it.
    """
    if not path.exists():
        said = last_word(log)
        return f"{NOT_THERE}; its log ends: {said}" if said else NOT_THERE
    found = plans_of(path)
    if not found:
        return "not whole: it names no plan"
    return "" if found == dict(plans) else OLDER


def last_word(log: Path) -> str:
    """The last «lookback: …» of a log and the indented lines after it; else its last line."""
    if not log.exists():
        return ""
    lines = [
        line.rstrip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    lines = [line for line in lines if line]
    starts = [place for place, line in enumerate(lines) if line.startswith("lookback: ")]
    if not starts:
        return lines[-1].strip() if lines else ""
    said = [lines[starts[-1]]]
    for line in lines[starts[-1] + 1 :]:
        if not line.startswith(" "):
            break
        said.append(line.strip())
    return " ".join(said)
