"""Paths of downloaded files.

An edit of a module that a task imports causes the models of the task to be trained again. Tasks do
not import `download.py`, so an edit of `download.py` causes no training.
"""

from pathlib import Path

from lookback.errors import UserError
from lookback.storage.paths import dataset_folder, manifest_file


def downloaded(dataset: str, name: str) -> Path:
    """The path of the downloaded file `name` of the dataset.

    Raises UserError if the downloaded file is missing.
    """
    path = dataset_folder(dataset) / name
    if not path.is_file():
        raise UserError(
            f"{path} is missing. Remove {manifest_file(dataset)} and start again to download the "
            "file."
        )
    return path
