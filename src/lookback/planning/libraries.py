"""The versions of the third-party libraries that a stage imports.

A stage's plan file holds the version of each library that the modules of the stage import, so that
another version of a library reruns the stage.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from importlib.util import find_spec
from pathlib import Path

from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import RESULTS

# Packages that are not counted, because no number or figure can depend on them.
ANNOTATIONS = {"jaxtyping", "typing_extensions"}
CACHE = RESULTS / ".distributions.json"


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each package, keyed by the name of the package's distribution.

    A package without a distribution, such as a folder that PYTHONPATH names, has the digest of its
    source files as its version. If a package is installed so that its source can be edited, as by
    `pip install -e`, this digest follows the version. Packages that are not installed are left out.
    """
    versions: dict[str, str] = {}
    for package in sorted(set(packages) - ANNOTATIONS):
        versions |= _versions(package)
    return versions


@cache
def _versions(package: str) -> Mapping[str, str]:
    """The versions of all distributions that contain a package; empty if it is not installed."""
    if names := _distributions().get(package):
        try:
            installed = {name: distribution(name) for name in sorted(set(names))}
        except PackageNotFoundError:
            CACHE.unlink(missing_ok=True)  # the package was uninstalled during the planning
            return {}
        return {name: _version(package, it) for name, it in installed.items()}
    source = _source(_spec(package))
    return {package: source} if source else {}


def _version(package: str, installed: Distribution) -> str:
    """The version of a distribution, with the digest of the package's source if it is editable."""
    spec = _spec(package)
    if _is_editable(installed, spec) and (source := _source(spec)):
        return f"{installed.version} {source}"
    return installed.version


def _is_editable(installed: Distribution, spec: ModuleSpec | None) -> bool:
    """Whether Python imports a package from another folder than that of its distribution.

    A distribution also counts as editable if its installer says so in direct_url.json, or if its
    SOURCES.txt shows that setuptools wrote its metadata beside the source.
    """
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable") or installed.read_text("SOURCES.txt"):
        return True
    home = Path(str(installed.locate_file(""))).resolve()
    return not all(place.resolve().is_relative_to(home) for place in _places(spec))


def _spec(package: str) -> ModuleSpec | None:
    """The place of a package, or None if it is not installed or a part of Python itself."""
    try:
        spec = None if package == "__main__" else find_spec(package)
    except ValueError:  # a module that is imported already may have no place
        return None
    return None if spec is None or spec.origin in ("built-in", "frozen") else spec


def _places(spec: ModuleSpec | None) -> list[Path]:
    """The folders of a package, or the file of a single module."""
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return folders or ([Path(spec.origin)] if spec.origin else [])


def _source(spec: ModuleSpec | None) -> str:
    """The digest of the source files of a package, or an empty text if it has no place."""
    places = _places(spec)
    if not places:
        return ""
    contents = sorted(
        f"{path.relative_to(place.parent)} {digest(path.read_bytes())}"
        for place in places
        for path in (place.rglob("*.py") if place.is_dir() else [place])
        if path.is_file()
    )
    return f"source {digest(chr(10).join(contents))[:8]}"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """The names of the distributions that contain each package, such as scikit-learn for sklearn.

    Python needs 0.4 s to collect the names, so they are stored in results/ until a
    distribution is installed, updated or removed.
    """
    key = digest("\n".join(_installed()))
    try:
        stored: dict[str, dict[str, list[str]]] = read_json(CACHE)
    except (OSError, json.JSONDecodeError):
        stored = {}
    if key not in stored:
        stored = {key: dict(packages_distributions())}
        write_json(CACHE, stored)
    return stored[key]


def _installed() -> list[str]:
    """The metadata folders of all installed distributions. Their names contain the versions."""
    folders = [Path(folder) for folder in sys.path if Path(folder).is_dir()]
    return sorted(
        str(path)
        for folder in folders
        for pattern in ("*.dist-info", "*.egg-info")
        for path in folder.glob(pattern)
    )
