"""The journal of a training run: journal.jsonl, one JSON object per line, append only.

MLflow, the terminal and history.parquet all read the journal. Appending a line takes microseconds,
works on a network file system, needs no lock, and depends on no server.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries written so far. An incomplete last line, left by a kill, is skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


class Journal:
    """The journal of one seed, open for writing."""

    def __init__(self, path: Path):
        self.path = path
        self.step = 0  # training step of the last line
        self._file = path.open("a", encoding="utf-8")

    @classmethod
    def resumed(cls, path: Path, step: int) -> "Journal":
        """Open a journal to continue training after `step`.

        Lines after `step`, and «end» and «failed» events, are deleted: training writes them again.
        If `step` is 0, all lines are deleted.
        """
        kept = [
            line
            for line in read(path)
            if line["step"] <= step and line.get("event") not in ("end", "failed")
        ]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(map(_line, kept)) if step else "", encoding="utf-8")
        os.replace(temporary, path)
        return cls(path)

    def event(self, name: str, step: int, **facts: Any) -> None:
        """Append an event: start, end or failed."""
        self._write({"time": time.time(), "event": name, "step": step, **facts})

    def values(self, split: str, step: int, values: dict[str, float]) -> None:
        """Append the values of a split (train, validation, test) at a training step."""
        self._write({"time": time.time(), "step": step, "split": split, "values": values})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self.step = entry["step"]
        self._file.write(_line(entry))
        self._file.flush()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
