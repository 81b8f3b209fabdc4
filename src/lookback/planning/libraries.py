"""The versions of the libraries that a stage imports."""

from functools import cache
from importlib.metadata import (
    PackageNotFoundError,
    metadata,
    packages_distributions,
    version,
)

from lookback.errors import UserError

# Packages whose version can change the numbers or figures of a study.
# A stage's plan file holds the version of each package in `COUNTED` that the stage imports.
COUNTED = {
    *("numpy", "scipy", "pandas", "torch", "pytorch_lightning", "numba", "llvmlite", "optuna"),
    *("captum", "sklearn", "matplotlib", "jinja2", "mlflow"),
}


@cache
def versions_of(packages: frozenset[str]) -> dict[str, str]:
    """The installed version of each package, keyed by the name of the package's distribution.

    Raises UserError if a package is not installed.
    """
    versions = {}
    for package in sorted(packages):
        name = distribution_of(package)
        try:
            versions[name] = version(name)
        except PackageNotFoundError as error:
            raise UserError(f"the package {name} is not installed; run `make setup`.") from error
    return versions


@cache
def distribution_of(package: str) -> str:
    """The name of the distribution that contains a package, such as scikit-learn for sklearn."""
    try:
        return str(metadata(package)["Name"])
    except PackageNotFoundError:
        return packages_distributions().get(package, [package])[0]
