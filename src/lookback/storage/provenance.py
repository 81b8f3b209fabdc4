"""Which plans a result on disk came by. Light: planning asks, and may not import numpy."""

import json
import re
import zipfile
from pathlib import Path

TAIL = 1 << 18  # bytes at the end of a parquet file that hold its footer


def plans_of(path: Path) -> dict[str, str]:
    """The plans that a result (.json, .parquet or .npz) names; empty where it is not whole."""
    try:
        if path.suffix == ".json":
            return dict(json.loads(path.read_text(encoding="utf-8")).get("plans", {}))
        return _json_in(_footer(path) if path.suffix == ".parquet" else _plans_array(path))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        content = file.read()
    return content[content.rindex(b"lookback.plans") :]


def _plans_array(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("plans.npy")
    # numpy keeps text as UTF-32 after a header of plain ASCII, padded to 64 bytes.
    header = 10 + int.from_bytes(raw[8:10], "little")
    return raw[header:].decode("utf-32-le").encode()


def _json_in(content: bytes) -> dict[str, str]:
    found = re.search(rb"\{[^{}]*\}", content)
    return dict(json.loads(found.group())) if found else {}
