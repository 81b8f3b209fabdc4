"""Where the files of a dataset lie. Apart from `download`, whose changes must retrain nothing."""

from pathlib import Path

from lookback.errors import Mistake


def folder(dataset: str) -> Path:
    """The folder of a dataset, shared by all studies."""
    return Path("results/data") / dataset


def downloaded(dataset: str, name: str) -> Path:
    """A file of a dataset.

    Raises Mistake where it is not there.
    """
    path = folder(dataset) / name
    if not path.is_file():
        raise Mistake(
            f"{path} is not there. Remove {folder(dataset)}/manifest.json and start again: "
            "the file is fetched anew."
        )
    return path
