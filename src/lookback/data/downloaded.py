"""Paths of downloaded files.

Tasks import this module and not `download.py`, so that an edit of `download.py` does not retrain a
model.
"""

from pathlib import Path

from lookback.errors import UserError
from lookback.storage.paths import dataset_folder, manifest_file


def downloaded(dataset: str, name: str) -> Path:
    """The path of a downloaded file of a dataset. Raises UserError if the file is missing."""
    path = dataset_folder(dataset) / name
    if not path.is_file():
        raise UserError(
            f"{path} is missing. Remove {manifest_file(dataset)} and start again to download the "
            "file."
        )
    return path
