"""Compilation of the kernels, and the cache of their machine code.

By default numba caches machine code beside the source file. Each study runs its own copy of the
package, so every edit would compile all kernels again (13 seconds). numba would also use outdated
code of a kernel if only a function that the kernel calls has changed. In this module the cache key
is the content of this whole folder, so all copies with the same content share their machine code.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numba.core import caching

Array = np.ndarray[Any, np.dtype[np.float32]]  # in C order
HERE = Path(__file__).parent
# With the fast-math flag `nnan` a clamp could turn NaN into a number and hide a diverged network.
# numba's default error model checks every division for zero, which prevents vectorised loops.
OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
}

F = TypeVar("F", bound=Callable[..., Any])


def compiled(kernel: F) -> F:
    """Compile a kernel, which releases the GIL, at its first call, and cache its machine code."""
    machine_code: F = njit(cache=True, nogil=True, **OPTIONS)(kernel)
    return machine_code


def inlined(function: F) -> F:
    """Compile a function that numba inlines into the loops of kernels."""
    inlinable: F = njit(inline="always", **OPTIONS)(function)
    return inlinable


class Strided(NamedTuple):
    """The memory of a tensor (B, T, ·), whose element (b, t, j) is flat[b · row + t · step + j]."""

    flat: Array
    row: int
    step: int


class Saved(NamedTuple):
    """The arrays that a forward pass fills and its backward pass reads, for T steps and R rows.

    At step t the array `line` holds [x_t, 1, h_{t-1}] for each row, and h starts at column
    `h_start`. `size` is H without its padding to a multiple of 8.
    """

    line: Array
    h_start: int
    size: int
    gates: Array
    cells: Array


class Backward(NamedTuple):
    """The other inputs of a backward pass, and the arrays that receive its gradients."""

    grad: Strided  # gradient of the outputs
    to_state: Array  # packed weights that map the gates' gradient to the gradient of h
    to_input: Array  # packed weights that map the gates' gradient to the gradient of x
    chunk: int  # steps gathered for one product of the weights' gradient
    of_input: Array  # gradient of the weights of [x, 1]; the pass adds to this array
    of_state: Array  # gradient of the weights of h; the pass adds to this array
    inputs: Array  # gradient of the inputs (T, R, F); empty if not needed


@cache
def _folder() -> Path:
    cache_root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    content = hashlib.sha256()
    for path in sorted(HERE.glob("*.py")):
        content.update(path.read_bytes())
    return Path(cache_root) / "lookback" / f"kernels-{content.hexdigest()[:16]}"


class ByContent(caching._CacheLocator):
    """A cache locator for numba that keys machine code by the content of this folder."""

    def __init__(self, function: Any, file: str):
        self._name = f"{Path(file).stem}-{function.__code__.co_firstlineno}"

    def get_cache_path(self) -> str:
        """The cache folder, whose name contains a hash of the sources."""
        return str(_folder())

    def get_source_stamp(self) -> str:
        """The name of the cache folder, which changes with the sources."""
        return _folder().name

    def get_disambiguator(self) -> str:
        """The module and line of the function, since two functions may have the same name."""
        return self._name

    @classmethod
    def from_function(cls, function: Any, file: str) -> "ByContent | None":
        """The locator of a function of this folder, or None for any other function.

        None also if the cache folder is not writable.
        """
        if Path(file).parent != HERE:
            return None
        locator = cls(function, file)
        try:
            locator.ensure_cache_path()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError):
            return None
        return locator


caching.CacheImpl._locator_classes.insert(0, ByContent)
