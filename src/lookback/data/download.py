"""Stage `download`: each file of a dataset, from the first mirror that serves the right content.

A mirror is the folder of the files: https://…, http://…, file:///…, or package:NAME/FOLDER, found
inside an installed package without importing it. What is checked is the content after gunzip, since
mirrors compress the same file differently. A download that was cut off stays as `<file>.part`; the
next attempt asks for the rest alone (Range, RFC 9110, section 14).
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

TIMEOUT = 30.0  # seconds without one byte
SLOWEST = 1024  # bytes a second: a mirror that only trickles must not hold a study
BLOCK = 1 << 18
GZIP = b"\x1f\x8b"


class _Unserved(Exception):
    """Why a mirror did not serve a file."""


def main(plan: Path, out: Path) -> None:
    """Put every file of the plan's dataset, verified, beside `out`, its manifest.

    Raises UserError where no mirror serves a file, and OSError where the disk does not take it.
    """
    dataset = read_json(plan)["dataset"]
    _check(dataset)
    checksums = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with (out.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second download of this dataset waits, then finds it
        for name, expected in dataset["files"].items():
            target = out.parent / name.removesuffix(".gz")
            if not _holds(target, expected):
                _fetch(dataset, name, target)
            checksums[target.name] = expected["sha256"]
    manifest = {"plans": {"download": plan.stem}, "dataset": dataset["name"], "files": checksums}
    write_json(out, manifest)


def _check(dataset: Mapping[str, Any]) -> None:
    """Raise UserError where a file is described otherwise than by its size and its SHA-256."""
    for name, expected in dataset["files"].items():
        if set(expected) != {"size", "sha256"}:
            raise UserError(
                f"{name} in conf/dataset/{dataset['name']}.yaml needs two keys: size and sha256, "
                f"of the content after gunzip. It has: {', '.join(expected) or 'none'}."
            )


def _holds(path: Path, expected: Mapping[str, Any]) -> bool:
    """Whether a file is there with the expected content."""
    if not path.is_file() or path.stat().st_size != expected["size"]:
        return False
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return bool(found == expected["sha256"])


def _fetch(dataset: Mapping[str, Any], name: str, target: Path) -> None:
    """Write `target` from the first mirror that serves it."""
    refusals = []
    for mirror in filter(None, dataset["mirrors"]):  # an unset environment variable leaves a null
        try:
            _fetch_from(mirror, name, target, dataset["files"][name])
        except _Unserved as reason:
            refusals.append(f"{mirror}: {reason}")
        else:
            print(f"{target.name} from {mirror}", flush=True)
            return
    raise UserError(
        "\n  ".join([f"no mirror of dataset '{dataset['name']}' serves {name}.", *refusals])
        + f"\nAdd a mirror to conf/dataset/{dataset['name']}.yaml: the address of the folder that "
        "holds this file; file:///… works too."
    )


def _fetch_from(mirror: str, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    """Write `target` from one mirror."""
    scheme, _, place = mirror.partition(":")
    if scheme == "file":
        _unpack(Path(url2pathname(urlsplit(mirror).path)) / name, target, expected)
    elif scheme == "package":
        _unpack(_package_folder(place) / name, target, expected)
    elif scheme in ("http", "https"):
        _fetch_by_http(f"{mirror.rstrip('/')}/{quote(name)}", name, target, expected)
    else:
        raise _Unserved("a mirror starts with https://, http://, file:// or package:")


def _package_folder(place: str) -> Path:
    """The folder that «package/folder» names."""
    package, _, inside = place.partition("/")
    spec = find_spec(package) if package.isidentifier() else None  # a dotted name would be imported
    if spec is None or not spec.submodule_search_locations:
        raise _Unserved(f"no package '{package}' is installed here")
    return Path(spec.submodule_search_locations[0]) / inside


def _fetch_by_http(url: str, name: str, target: Path, expected: Mapping[str, Any]) -> None:
    """Write `target` from a server; what was joined to an earlier part gets a second try, whole."""
    part = target.with_name(f"{name}.part")
    most = expected["size"] + expected["size"] // 100 + 4096  # gzip adds less, even to pure noise
    while True:
        resumed = _receive(url, part, most)
        try:
            return _unpack(part, target, expected)
        except _Unserved:
            if not resumed:
                raise
        finally:
            part.unlink()


def _receive(url: str, part: Path, most: int) -> bool:
    """Bring `part` to its end, or receive it anew; whether it was resumed."""
    with _ask(url, start=part.stat().st_size if part.exists() else 0) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            for block in _blocks(response, most):
                file.write(block)
    return resumed


def _ask(url: str, start: int) -> HTTPResponse:
    """The answer of a server, from byte `start` on where it can."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
        return response
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return _ask(url, start=0)
        raise _Unserved(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise _Unserved(_said(error)) from None


def _blocks(response: HTTPResponse, most: int) -> Iterator[bytes]:
    """What a server sends, up to `most` bytes and a little more."""
    announced = response.headers.get("Content-Length")
    size = int(announced) if announced and announced.isdecimal() else None
    began, recent, count = time.monotonic(), 0, 0
    while count != size and count <= most:
        try:
            block = response.read1(BLOCK)  # what is there: a full read would wait out a trickle
        except (OSError, HTTPException) as error:
            raise _Unserved(f"{_said(error)} after {count:,} bytes") from None
        if not block:
            break
        yield block
        count, recent = count + len(block), recent + len(block)
        seconds = time.monotonic() - began
        if seconds > TIMEOUT:
            if recent < SLOWEST * seconds:
                raise _Unserved(f"too slow: {recent:,} bytes in {seconds:.0f} s")
            began, recent = time.monotonic(), 0
    if size is not None and count < min(size, most):
        raise _Unserved(f"cut off after {count:,} of {size:,} bytes")


def _unpack(packed: Path, target: Path, expected: Mapping[str, Any]) -> None:
    """Write the content of `packed` to `target`, if it is the expected one."""
    content, size = hashlib.sha256(), 0
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        for block in _content(packed):
            file.write(block)
            content.update(block)
            size += len(block)
            if size > expected["size"]:
                raise _Unserved(f"the content is larger than {expected['size']:,} bytes")
        if size != expected["size"]:
            raise _Unserved(f"the content has {size:,} bytes, not {expected['size']:,}")
        if content.hexdigest() != expected["sha256"]:
            raise _Unserved(f"the content has SHA-256 {content.hexdigest()}, not the expected one")


def _content(packed: Path) -> Iterator[bytes]:
    """A file's content; servers may gunzip on the way, so its first bytes say whether to."""
    try:
        with packed.open("rb") as file:
            is_gzip = file.read(len(GZIP)) == GZIP
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if is_gzip else file
            while block := stream.read(BLOCK):
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise _Unserved(_said(error)) from None


def _said(error: Exception) -> str:
    """The message of an error, without its number; urllib wraps the true one as `reason`."""
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
