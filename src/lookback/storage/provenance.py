"""Read the plan digests that a result file stores.

This module does not import numpy, because planning uses this module and must start quickly.
"""

import json
import re
import zipfile
from pathlib import Path

TAIL = 1 << 18  # number of bytes that are read from the end of a parquet file to find its footer


def plans_of(path: Path) -> dict[str, str]:
    """A dictionary from stages to the plan digests in a result file (.json, .parquet or .npz).

    The dictionary is empty if the file does not exist, is damaged, or stores no digests.
    """
    try:
        if path.suffix == ".json":
            return dict(json.loads(path.read_text(encoding="utf-8")).get("plans", {}))
        return _first_json(_footer(path) if path.suffix == ".parquet" else _plans_array(path))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}


def _footer(path: Path) -> bytes:
    """The bytes of a parquet file from the metadata key «lookback.plans» to the end of the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        content = file.read()
    return content[content.rindex(b"lookback.plans") :]


def _plans_array(path: Path) -> bytes:
    """The JSON text in the array `plans` of an .npz file, encoded as UTF-8."""
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("plans.npy")
    # Bytes 8 and 9 of an .npy file contain the length of the header that follows these two bytes.
    header = 10 + int.from_bytes(raw[8:10], "little")
    return raw[header:].decode("utf-32-le").encode()  # numpy stores text as UTF-32


def _first_json(content: bytes) -> dict[str, str]:
    """The first JSON object in `content` that contains no other object, or {} if there is none."""
    match = re.search(rb"\{[^{}]*\}", content)
    return dict(json.loads(match.group())) if match else {}
