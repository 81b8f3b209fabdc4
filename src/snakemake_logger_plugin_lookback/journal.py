"""Follows the journals that running trainers append to: what one seed has reached, and how well.

A journal is `seed=<n>/journal.jsonl`, one JSON object a line: start, values of a split, the end.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Seed:
    """What a journal says of one seed; times are Unix seconds."""

    seed: int = 0
    steps: int = 0
    started: float = 0.0  # of the latest start or resume
    started_from: int = 0  # the step it started or resumed from
    step: int = 0
    time: float = 0.0
    ended: bool = False
    loss: float | None = None
    metric: tuple[str, float] | None = None

    def take(self, entry: dict[str, Any]) -> None:
        """Learn from one line of the journal."""
        self.step, self.time = int(entry["step"]), float(entry["time"])
        if entry.get("event") == "start":
            self.seed, self.steps = int(entry["seed"]), int(entry["steps"])
            self.started, self.started_from, self.ended = self.time, self.step, False
        elif entry.get("event") in ("end", "failed"):
            self.ended = True
        elif entry["split"] == "train":
            self.loss = float(entry["values"]["loss"])
        elif entry["split"] == "validation":
            values = entry["values"]
            name = next((name for name in values if name != "loss"), "loss")
            self.metric = (name, float(values[name]))


class Journal:
    """One journal, read on from where the last reading stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # the inode: a resume may write the journal anew
        self._read = 0
        self.seed = Seed()

    def follow(self) -> Seed:
        """What the journal says by now; half a line at its end waits for the next call.

        Raises:
            OSError: the journal cannot be read.
        """
        with self._path.open("rb") as file:
            status = self._path.stat()
            if status.st_ino != self._file or status.st_size < self._read:
                self._file, self._read, self.seed = status.st_ino, 0, Seed()
            file.seek(self._read)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        self._read += whole
        for line in text[:whole].splitlines():
            try:
                self.seed.take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a line cut by a crash: the next one says more
        return self.seed


class Journals:
    """The journals of a cell: all `seed=<n>` in the folder of its train plan."""

    def __init__(self, folder: Path, seeds: list[int]) -> None:
        self._folder = folder
        self._wanted = seeds
        self._journals: dict[Path, Journal] = {}

    def follow(self) -> list[Seed]:
        """What each seed that the job asks for has reached, for those that began."""
        seen = []
        for path in sorted(self._folder.glob("seed=*/journal.jsonl")):
            try:
                seen.append(self._journals.setdefault(path, Journal(path)).follow())
            except OSError:
                continue  # a folder that is being cleaned up
        return [s for s in seen if s.steps and (not self._wanted or s.seed in self._wanted)]
