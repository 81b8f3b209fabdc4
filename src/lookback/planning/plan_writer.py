"""Writes plan files, with the fingerprints of the code and the libraries that each stage imports.

A study can have thousands of cells, which share most of their settings. A `PlanWriter` therefore
analyses each setting once, and writes each plan file once.
"""

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from json import JSONEncoder
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from lookback.planning.code_fingerprints import Fingerprints
from lookback.planning.libraries import versions_of
from lookback.planning.targets import foreign_packages, own_modules
from lookback.storage.atomic import digest, sync
from lookback.storage.paths import plan_file

T = TypeVar("T")


class ByIdentity(Generic[T]):
    """Calls a function once for each object. Equal but different objects count as different."""

    def __init__(self, function: Callable[[Any], T]):
        self.function = function
        self.results: dict[int, tuple[Any, T]] = {}  # by id; the object is kept, so its id is too

    def __call__(self, value: Any) -> T:
        """The result of the function for `value`."""
        known = self.results.get(id(value))
        if known is None:
            known = self.results[id(value)] = (value, self.function(value))
        return known[1]


class _Names(NamedTuple):
    modules: frozenset[str]  # the modules of lookback that a setting names
    packages: frozenset[str]  # the third-party packages that a setting names


class PlanWriter:
    """Writes the plan files of one study, with the fingerprints of one copy of the code."""

    def __init__(self, code: Fingerprints):
        self.code = code
        self.written: set[Path] = set()  # all plan files of the study
        self.unsynced: set[Path] = set()
        self._names = ByIdentity(self._named_in)
        self._sorted = ByIdentity(partial(_json, sort_keys=True))
        self._ordered = ByIdentity(partial(_json, sort_keys=False))
        self._reached: dict[frozenset[str], tuple[str, str]] = {}

    def stage(
        self,
        name: str,
        roots: Iterable[str],
        settings: Mapping[str, Any],
        *,
        sort_keys: bool,
        digests: Mapping[str, Any] | None = None,
        unnamed: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write the plan file of the stage `name`, which starts with the modules `roots`.

        The file holds `settings` and `digests`. The stage imports the modules and the packages that
        `settings` name. The name of the file is the digest of its content. The settings `unnamed`
        replace `settings` in the file, but do not change the name of the file. With `sort_keys`,
        two mappings with equal entries in another order give the same file.
        """
        names = [self._names(value) for value in settings.values()]
        modules = frozenset(roots).union(*(it.modules for it in names))
        packages = frozenset[str]().union(*(it.packages for it in names))
        code, libraries = self._imports(modules, packages)
        text_of = self._sorted if sort_keys else self._ordered
        contents = {**settings, **(digests or {})}
        texts = {"stage": f'"{name}"', **{key: text_of(it) for key, it in contents.items()}}
        texts |= {"code": code, "libraries": libraries}
        named = _document(texts)
        if not unnamed:
            return self._write(name, named, named)
        texts |= {key: text_of(value) for key, value in unnamed.items()}
        return self._write(name, named, _document(texts))

    def index(self, content: Mapping[str, Any]) -> Path:
        """Write the index file of a study, and sync all plan files of the study to the disk."""
        text = _document({key: self._ordered(value) for key, value in content.items()})
        path = self._write("study", text, text)
        folders = {path.parent for path in self.unsynced}
        for unsynced in (*sorted(self.unsynced), *sorted(folders)):
            sync(unsynced)
        return path

    def _named_in(self, value: Any) -> _Names:
        modules = frozenset(own_modules(value, self.code.hashes))
        return _Names(modules, frozenset(foreign_packages(value)))

    def _imports(self, modules: frozenset[str], packages: frozenset[str]) -> tuple[str, str]:
        """The fingerprints of all code, and the versions of all libraries, as JSON."""
        key = modules | packages
        if key not in self._reached:
            code = self.code.of(modules)
            libraries = versions_of(self.code.packages(code) | packages)
            versions = {"python": platform.python_version(), **libraries}
            self._reached[key] = (_json(code, True), _json(versions, True))
        return self._reached[key]

    def _write(self, stage: str, named: str, stored: str) -> Path:
        """Write the text `stored` to the plan file whose name is the digest of the text `named`.

        An existing file with this text is kept. An existing file with another text was damaged, or
        has other mirrors. The file is replaced, and keeps its time stamp.
        """
        path = plan_file(stage, digest(named))
        if path in self.written:
            return path
        content = stored.encode()
        try:
            times = path.stat()
            is_whole = path.read_bytes() == content
        except FileNotFoundError:
            times, is_whole = None, False
        if not is_whole:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.stem}.{os.getpid()}")
            try:
                temporary.write_bytes(content)
                if times:
                    os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            self.unsynced.add(path)
        self.written.add(path)
        return path


def _document(texts: Mapping[str, str]) -> str:
    """A JSON object with one value per key. Each value is given as JSON."""
    lines = (f" {_ENCODERS[False].encode(key)}: {text}" for key, text in texts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _json(value: Any, sort_keys: bool) -> str:
    """The value as JSON. The entries of a mapping are in separate lines."""
    encode = _ENCODERS[sort_keys].encode
    if not isinstance(value, Mapping) or not value:
        return encode(value)
    entries = sorted(value.items()) if sort_keys else value.items()
    lines = (f"  {encode(str(key))}: {encode(entry)}" for key, entry in entries)
    return "{\n" + ",\n".join(lines) + "\n }"


_ENCODERS = {
    is_sorted: JSONEncoder(ensure_ascii=False, sort_keys=is_sorted) for is_sorted in (False, True)
}
