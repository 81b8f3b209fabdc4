"""A random identifier that separates projects with equal study names on one MLflow server."""

import uuid

from filelock import FileLock

from lookback.storage.atomic import write_text
from lookback.storage.paths import TRACKING

FILE = TRACKING / "project"


def identity() -> str:
    """The random identifier of this folder results/. The first call creates the identifier."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(FILE.with_suffix(".lock")):
        if not FILE.exists():
            write_text(FILE, f"{uuid.uuid4()}\n")
    return FILE.read_text(encoding="utf-8").strip()
