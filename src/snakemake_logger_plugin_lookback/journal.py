"""Reads the training step, the loss and the metric of a seed from the journal of its train job.

A journal is the file `seed=<n>/journal.jsonl` with one JSON object per line. An entry is the start
of training, the values of a split (train or validation), or the end of training.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Seed:
    """The training progress of one seed from its journal; times are Unix times in seconds."""

    seed: int = 0
    steps: int = 0
    started: float = 0.0  # time of the latest start or resume
    started_from: int = 0  # step at the latest start or resume
    step: int = 0
    time: float = 0.0
    ended: bool = False
    loss: float | None = None
    metric: tuple[str, float] | None = None

    def update(self, entry: dict[str, Any]) -> None:
        """Update the progress from one entry of the journal."""
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
    """One journal file, read incrementally."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0  # changes if a resume replaces the journal by a new file
        self._bytes_read = 0
        self.seed = Seed()

    def follow(self) -> Seed:
        """Read the entries since the last call; return the progress of the seed.

        An incomplete last line is left for the next call.

        Raises:
            OSError: the journal cannot be read.
        """
        with self._path.open("rb") as file:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._bytes_read:
                self._inode, self._bytes_read, self.seed = status.st_ino, 0, Seed()
            file.seek(self._bytes_read)
            text = file.read()
        complete = text.rfind(b"\n") + 1
        self._bytes_read += complete
        for line in text[:complete].splitlines():
            try:
                self.seed.update(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a crash can leave an incomplete line; later entries follow
        return self.seed


class Journals:
    """The journals of all seeds of a cell."""

    def __init__(self, folder: Path, seeds: list[int]) -> None:
        self._folder = folder
        self._wanted = seeds
        self._journals: dict[Path, Journal] = {}

    def follow(self) -> list[Seed]:
        """The current progress of each requested seed that has started to train."""
        seeds = []
        for path in sorted(self._folder.glob("seed=*/journal.jsonl")):
            try:
                seeds.append(self._journals.setdefault(path, Journal(path)).follow())
            except OSError:
                continue  # another process may have deleted the folder
        return [s for s in seeds if s.steps and (not self._wanted or s.seed in self._wanted)]
