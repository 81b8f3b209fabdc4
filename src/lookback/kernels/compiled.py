"""Compile the kernels with numba, and cache their machine code.

By default, numba caches the machine code of a function beside the function's source file. A study
runs a copy of the package, so with numba's default every edit of the package would cause a new
compilation of all kernels, which takes 13 seconds. With its default cache, numba would not
recompile a kernel after an edit of a function that the kernel calls. The cache of this module uses
a hash of all source files in kernels/ as its key. All copies of the package with the same kernels
therefore share the machine code.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numba.core import caching

Array = np.ndarray[Any, np.dtype[np.float32]]  # in C order
Lengths = np.ndarray[Any, np.dtype[np.int64]]
HERE = Path(__file__).parent
# The fast-math flag `nnan` is not set, because it would allow a clamp to turn NaN into a number.
# The clamps must keep NaN, because NaN shows that a network has diverged.
# Checks for division by zero prevent vectorised loops, so the error model "numpy" omits them.
OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
}

F = TypeVar("F", bound=Callable[..., Any])


def compiled(kernel: F) -> F:
    """Compile a kernel at its first call, and cache its machine code.

    The compiled kernel releases the GIL while it runs. If the cache folder is not writable, each
    process compiles the kernel anew.
    """
    machine_code: F = njit(cache=_is_writable(), nogil=True, **OPTIONS)(kernel)
    return machine_code


def inlined(function: F) -> F:
    """Compile a function that numba inlines into the kernels that call the function."""
    inlinable: F = njit(inline="always", **OPTIONS)(function)
    return inlinable


class Strided(NamedTuple):
    """The memory of a tensor of shape (B, T, ·), as a flat array with strides.

    The element (b, t, j) of the tensor is flat[b · row + t · step + j].
    """

    flat: Array
    row: int
    step: int


class Saved(NamedTuple):
    """The arrays that a forward pass over T steps and R rows fills for its backward pass.

    The vector line[t, r] is [x_t, 1, h_{t-1}] for row r of the batch, and its part h_{t-1} starts
    at the index `h_start`. `size` is the number of hidden units H, without padding to a multiple of
    8. The sequence in row r has lengths[r] steps, at most T. Kernels compute nothing for a row
    after its last step, where h, c and the gates are zero.
    """

    line: Array
    h_start: int
    size: int
    gates: Array
    cells: Array
    lengths: Lengths


class Backward(NamedTuple):
    """The arguments of a backward pass besides `Saved`, and the arrays for the gradients."""

    grad: Strided  # gradient of the layer's outputs
    to_state: Array  # packed weights; the gates' gradient times these weights is the gradient of h
    to_input: Array  # packed weights; the gates' gradient times these weights is the gradient of x
    chunk: int  # one matrix product sums the weights' gradients over this number of time steps
    of_line: Array  # gradient of [W_x, b, W_h]; each kernel call adds the part of its batch rows
    inputs: Array  # gradient of the inputs (T, R, F), or an empty array if it is not needed


@cache
def _folder() -> Path:
    cache_root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    content = hashlib.sha256()
    for path in sorted(HERE.glob("*.py")):
        content.update(path.read_bytes())
    return Path(cache_root) / "lookback" / f"kernels-{content.hexdigest()[:16]}"


@cache
def _is_writable() -> bool:
    """Whether machine code can be kept in the cache folder.

    Without this check, numba would keep the machine code beside the source files, or raise an error
    at the import if that folder is not writable, too.
    """
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=_folder()).close()
    except (OSError, RuntimeError):  # Path.home raises RuntimeError if there is no home
        return False
    return True


class ByContent(caching._CacheLocator):
    """A cache locator that lets numba find machine code by a hash of the kernels' source files."""

    def __init__(self, function: Any, file: str):
        self._name = f"{Path(file).stem}-{function.__code__.co_firstlineno}"

    def get_cache_path(self) -> str:
        """The path of the cache folder, whose name contains a hash of the kernels' source files."""
        return str(_folder())

    def get_source_stamp(self) -> str:
        """The name of the cache folder, which changes when a source file of the kernels changes."""
        return _folder().name

    def get_disambiguator(self) -> str:
        """The module and line of the function, because two functions may have the same name."""
        return self._name

    @classmethod
    def from_function(cls, function: Any, file: str) -> "ByContent | None":
        """The cache locator of `function`, or None if the function is not defined in kernels/."""
        return cls(function, file) if Path(file).parent == HERE else None


caching.CacheImpl._locator_classes.insert(0, ByContent)
