"""The journal of a training run is journal.jsonl, to which training appends JSON objects.

Each line of the journal is one JSON object. MLflow, the terminal and history.parquet all get their
values from the journal. Appending a line to the journal takes microseconds, works on a network file
system, and needs neither a lock nor a server.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookback.storage.atomic import write_text


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the journal `path` that have been written so far.

    An incomplete last line is skipped, because a process that was killed may leave such a line.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


class Journal:
    """The journal of one training run, open for appending entries."""

    def __init__(self, path: Path):
        self.path = path
        self.step = 0  # training step of the last entry
        self._file = path.open("a", encoding="utf-8")

    @classmethod
    def resumed(cls, path: Path, step: int) -> "Journal":
        """Open the journal `path` to continue training after the training step `step`.

        The entries of steps after `step` are deleted, because training writes them again. The
        events «end» and «failed» are deleted, too. If `step` is 0, all entries of the journal are
        deleted.
        """
        kept = [
            line
            for line in read(path)
            if line["step"] <= step and line.get("event") not in ("end", "failed")
        ]
        write_text(path, "".join(map(_line, kept)) if step else "")
        return cls(path)

    def event(self, name: str, step: int, **facts: Any) -> None:
        """Append the event «start», «end» or «failed» to the journal."""
        self._write({"time": time.time(), "event": name, "step": step, **facts})

    def values(self, split: str, step: int, values: dict[str, float]) -> None:
        """Append values measured on a split (train, validation, test) at a training step."""
        self._write({"time": time.time(), "step": step, "split": split, "values": values})

    def sync(self) -> None:
        """Write all entries to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write all entries to the disk, and close the file."""
        self.sync()
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self.step = entry["step"]
        self._file.write(_line(entry))
        self._file.flush()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
