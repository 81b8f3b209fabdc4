"""Which project this is: on one MLflow server, two may each have a study `quick`."""

import uuid

from filelock import FileLock

from lookback.storage.atomic import write_text
from lookback.storage.paths import TRACKING

FILE = TRACKING / "project"


def identity() -> str:
    """A random name of this results/, made when it is first asked for."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(FILE.with_suffix(".lock")):
        if not FILE.exists():
            write_text(FILE, f"{uuid.uuid4()}\n")
    return FILE.read_text(encoding="utf-8").strip()
