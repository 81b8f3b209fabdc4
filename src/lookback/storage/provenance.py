"""Read the plans that a result file stores. Planning uses this module, so numpy is not imported."""

import json
import re
import zipfile
from pathlib import Path

TAIL = 1 << 18  # bytes read from the end of a parquet file, where its footer is


def plans_of(path: Path) -> dict[str, str]:
    """The digest of the plan of each stage that made a result (.json, .parquet or .npz).

    Empty if the file does not exist, is damaged, or stores no plans.
    """
    try:
        if path.suffix == ".json":
            return dict(json.loads(path.read_text(encoding="utf-8")).get("plans", {}))
        return _first_json(_footer(path) if path.suffix == ".parquet" else _plans_array(path))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}


def _footer(path: Path) -> bytes:
    """The end of a parquet file, from the metadata key «lookback.plans» on."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        content = file.read()
    return content[content.rindex(b"lookback.plans") :]


def _plans_array(path: Path) -> bytes:
    """The array `plans` of an .npz file, which holds JSON, as bytes."""
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("plans.npy")
    # numpy stores text as UTF-32. Bytes 8 and 9 hold the length of the header that follows them.
    header = 10 + int.from_bytes(raw[8:10], "little")
    return raw[header:].decode("utf-32-le").encode()


def _first_json(content: bytes) -> dict[str, str]:
    """The first flat JSON object in `content`; empty if there is none."""
    match = re.search(rb"\{[^{}]*\}", content)
    return dict(json.loads(match.group())) if match else {}
