"""Paths of downloaded files.

Tasks import `downloaded.py` and not `download.py`, so that an edit of `download.py` does not cause
any model to be trained again.
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
