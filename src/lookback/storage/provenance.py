"""Read the plan digests that a result file stores.

This module does not import numpy, because planning uses this module and must start quickly.
"""

import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

# What Python raises for a missing, truncated or overwritten file.
DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def plans_of(path: Path) -> dict[str, str]:
    """A dictionary from stages to the plan digests in a result file (.json, .parquet or .npz).

    The dictionary is empty if the file does not exist, is damaged, or stores no digests.
    """
    try:
        if path.suffix == ".json":
            return dict(json.loads(path.read_text(encoding="utf-8")).get("plans", {}))
        return _first_json(_footer(path) if path.suffix == ".parquet" else _plans_array(path))
    except DAMAGED:
        return {}


def _footer(path: Path) -> bytes:
    """The bytes of a parquet file's footer from the metadata key «lookback.plans» on.

    The last eight bytes of a parquet file are the length of its footer and the text «PAR1».
    """
    with path.open("rb") as file:
        end = file.seek(-8, os.SEEK_END)
        length, magic = struct.unpack("<I4s", file.read())
        if magic != b"PAR1":
            raise ValueError(f"{path} is no whole parquet file")
        file.seek(end - length)
        content = file.read(length)
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
