"""Reads the current training step, loss and metric of a network from its training journal.

A journal is the file `seed=<n>/journal.jsonl` with one JSON object per line. A line of a journal
records the start of training, the loss and metrics on a split (train or validation), or the end of
training.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Seed:
    """The training progress of the network of one seed, as read from the network's journal.

    All times are Unix times in seconds.
    """

    seed: int = 0
    steps: int = 0
    started: float = 0.0  # time at which training last started or resumed
    started_from: int = 0  # step at which training last started or resumed
    step: int = 0
    time: float = 0.0
    ended: bool = False
    loss: float | None = None
    metric: tuple[str, float] | None = None

    def update(self, entry: dict[str, Any]) -> None:
        """Update the training progress of the network from one entry of the journal."""
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
    """Reads one journal file. Each call of `follow` reads only the entries since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0  # inode number, which changes if resumed training writes a new file
        self._bytes_read = 0
        self.seed = Seed()

    def follow(self) -> Seed:
        """Read the journal entries since the last call, and return the network's training progress.

        If the last line of the journal is incomplete, the next call reads the line.

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
                continue  # a crash of training can leave an incomplete line in a journal
        return self.seed


class Journals:
    """The training journals of one model on one task, with one journal per seed."""

    def __init__(self, folder: Path, seeds: list[int]) -> None:
        self._folder = folder
        self._wanted = seeds
        self._journals: dict[Path, Journal] = {}

    def follow(self) -> list[Seed]:
        """The training progress for each requested seed whose network has started to train."""
        seeds = []
        for path in sorted(self._folder.glob("seed=*/journal.jsonl")):
            try:
                seeds.append(self._journals.setdefault(path, Journal(path)).follow())
            except OSError:
                continue  # another process may have deleted the journal
        return [s for s in seeds if s.steps and (not self._wanted or s.seed in self._wanted)]
