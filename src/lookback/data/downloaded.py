"""The downloaded files of a dataset. Not in `download`: an edit there must not retrain anything."""

from pathlib import Path

from lookback.errors import UserError
from lookback.storage.paths import dataset_folder, manifest_file


def downloaded(dataset: str, name: str) -> Path:
    """A file of a dataset. Raises UserError if it is missing."""
    path = dataset_folder(dataset) / name
    if not path.is_file():
        raise UserError(
            f"{path} is missing. Remove {manifest_file(dataset)} and start again to download it "
            "once more."
        )
    return path
