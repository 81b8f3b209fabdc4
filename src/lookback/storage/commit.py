"""Which code this process runs: the snapshot that the plan made, and the commit it came from."""

from pathlib import Path
from typing import Any

import lookback
from lookback.storage.atomic import read_json


def commit_of_this_code() -> dict[str, Any]:
    """{"commit": sha or None, "dirty": bool or None}; None where the code is no snapshot."""
    note = Path(next(iter(lookback.__path__))).parent / "commit.json"
    return dict(read_json(note)) if note.exists() else {"commit": None, "dirty": None}
