"""The git commit of the code that this process runs."""

from pathlib import Path
from typing import Any

import lookback
from lookback.storage.atomic import read_json


def commit_of_this_code() -> dict[str, Any]:
    """The git commit of this code (`commit`), and whether it has uncommitted changes (`dirty`).

    Both values are None if the project has no git repository, or if this process does not run a
    copy of the code in results/.code/.
    """
    note = Path(next(iter(lookback.__path__))).parent / "commit.json"
    return dict(read_json(note)) if note.exists() else {"commit": None, "dirty": None}
