"""Stage `download`: fetch each file of a dataset from the first mirror with the right content.

A mirror is the address of a folder: https://…, http://…, file:///…, or package:NAME/FOLDER, which
is a folder of an installed package (the package is not imported). The size and the SHA-256 are
checked after gunzip, because mirrors compress the same file differently. An interrupted download is
kept as `<file>.part`. The next attempt requests only the missing bytes (HTTP Range, RFC 9110,
section 14).
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

TIMEOUT = 30.0  # seconds without a byte before a mirror is given up
SLOWEST = 1024  # bytes per second: a slower mirror is given up
BLOCK = 1 << 18  # bytes read at once
GZIP = b"\x1f\x8b"  # the first bytes of a gzip file


class _Unserved(Exception):
    """A mirror does not serve a file; the message is the reason."""


def main(plan: Path, out: Path) -> None:
    """Download and verify every file of the plan's dataset, and write the manifest `out`.

    The files are stored in the folder that contains `out`. Raises UserError if no mirror serves a
    file, and OSError if a file cannot be written to disk.
    """
    dataset = read_json(plan)["dataset"]
    _check(dataset)
    checksums = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # A second process waits, then finds the files.
        for name, expected in dataset["files"].items():
            target = out.parent / name.removesuffix(".gz")
            if not _has_content(target, expected):
                _fetch(dataset, name, target)
            checksums[target.name] = expected["sha256"]
    manifest = {"plans": {"download": plan.stem}, "dataset": dataset["name"], "files": checksums}
    write_json(out, manifest)


def _check(dataset: Mapping[str, Any]) -> None:
    """Raise UserError unless each file has exactly the keys `size` and `sha256`."""
    for name, expected in dataset["files"].items():
        if set(expected) != {"size", "sha256"}:
            raise UserError(
                f"{name} in conf/dataset/{dataset['name']}.yaml needs two keys: size and sha256 "
                f"of the content after gunzip. It has: {', '.join(expected) or 'none'}."
            )


def _has_content(path: Path, expected: Mapping[str, Any]) -> bool:
    """Whether the file exists and has the expected size and SHA-256."""
    if not path.is_file() or path.stat().st_size != expected["size"]:
        return False
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return bool(checksum == expected["sha256"])


def _fetch(dataset: Mapping[str, Any], name: str, target: Path) -> None:
    """Write `target` from the first mirror that serves the file.

    Raises UserError with the reason of each mirror if no mirror serves the file.
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
    """Write `target` from one mirror. Raises _Unserved if the mirror does not serve the file."""
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
    """The folder of an installed package that the location PACKAGE/FOLDER names."""
    package, _, folder = location.partition("/")
    # find_spec imports the parents of a dotted name, so dotted names are refused.
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise _Unserved(f"no package '{package}' is installed here")
    return Path(spec.submodule_search_locations[0]) / folder


def _fetch_by_http(url: str, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    """Write `target` from a server.

    The whole file is requested again if a resumed download has the wrong content.
    """
    part = target.with_name(f"{name}.part")
    # gzip enlarges a file by less than 1 % + 4096 bytes, even random bytes.
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
    """Download the missing bytes of `part` or the whole file; return whether it resumed."""
    with _request(url, start=part.stat().st_size if part.exists() else 0) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            for block in _blocks(response, limit):
                file.write(block)
    return resumed


def _request(url: str, start: int) -> HTTPResponse:
    """The server's response, from byte `start` if the server supports ranges."""
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
    """The bytes of a response, until the total exceeds `limit`.

    Raises _Unserved if the connection fails, is too slow, or closes early.
    """
    announced = response.headers.get("Content-Length")
    size = int(announced) if announced and announced.isdecimal() else None
    start_time, recent, count = time.monotonic(), 0, 0
    while count != size and count <= limit:
        try:
            # read1 returns the bytes that have arrived; read would wait for a full block.
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
    """Write the content of `packed` to `target`.

    Raises _Unserved if the size or the SHA-256 of the content is not the expected one.
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
        if checksum.hexdigest() != expected["sha256"]:
            raise _Unserved(f"the content has SHA-256 {checksum.hexdigest()}, not the expected one")


def _content(packed: Path) -> Iterator[bytes]:
    """The content of a file, after gunzip if the first bytes are those of gzip.

    The name does not show whether the file is compressed, because some servers decompress a .gz
    file before sending.
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
    """The message of an error, without its number. urllib stores the cause as `reason`."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
