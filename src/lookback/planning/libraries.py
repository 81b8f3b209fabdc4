"""The versions of the third-party libraries that a stage imports.

A stage's plan file holds the version of each library that the modules of the stage import, so that
another version of a library reruns the stage.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
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
    source files as its version. Packages that are not installed are left out.
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
            return {name: version(name) for name in sorted(set(names))}
        except PackageNotFoundError:
            CACHE.unlink(missing_ok=True)  # the package was uninstalled during the planning
            return {}
    spec = find_spec(package)
    if spec is None or spec.origin in ("built-in", "frozen"):
        return {}
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    if not folders and spec.origin:
        files = [Path(spec.origin)]
    contents = (f"{path.name} {digest(path.read_bytes())}" for path in sorted(files))
    return {package: f"source {digest(chr(10).join(contents))[:8]}"}


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
