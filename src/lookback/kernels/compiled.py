"""How kernels are compiled, and where the machine code is kept.

numba keeps it beside the source, by path. Each study runs a copy of the package, so every edit
would compile all kernels anew (13 seconds); and a kernel whose callee changed would be taken for
current. Here the key is the content of this whole folder, so copies share what was compiled.
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
# Not «fast»: nnan would let a clamp swallow a NaN, and a diverged network would look well.
# The error model is numpy's, since a check of every division would keep loops from vectorising.
OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
}

F = TypeVar("F", bound=Callable[..., Any])


def compiled(kernel: F) -> F:
    """The kernel as machine code, made when it is first called; it lets other threads run."""
    made: F = njit(cache=True, nogil=True, **OPTIONS)(kernel)
    return made


def inlined(function: F) -> F:
    """A function that kernels take into their loops."""
    made: F = njit(inline="always", **OPTIONS)(function)
    return made


class Strided(NamedTuple):
    """A tensor (B, T, ·) as its memory: element j of b at t is flat[b · row + t · step + j]."""

    flat: Array
    row: int
    step: int


class Kept(NamedTuple):
    """What a forward pass fills and its backward pass reads: T steps of R rows.

    A row of `line` at step t is [x_t, 1, h_{t-1}]; `before` are its columns before h, and `size` is
    H before it was filled up to a multiple of 8.
    """

    line: Array
    before: int
    size: int
    gates: Array
    cells: Array


class Backward(NamedTuple):
    """What a backward pass reads besides, and what it adds to or fills."""

    grad: Strided  # of the outputs
    to_state: Array  # packed weights, from the gates back to h
    to_input: Array  # ... and back to x
    chunk: int  # steps gathered for one product of the weights' gradient
    of_input: Array  # gradient of the weights that meet [x, 1]; added to
    of_state: Array  # ... and of those that meet h
    inputs: Array  # gradient of the inputs (T, R, F); empty where nobody asks


@cache
def _folder() -> Path:
    said = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    content = hashlib.sha256()
    for path in sorted(HERE.glob("*.py")):
        content.update(path.read_bytes())
    return Path(said) / "lookback" / f"kernels-{content.hexdigest()[:16]}"


class ByContent(caching._CacheLocator):
    """numba's place for the machine code of a function in this folder."""

    def __init__(self, function: Any, file: str):
        self._name = f"{Path(file).stem}-{function.__code__.co_firstlineno}"

    def get_cache_path(self) -> str:
        """The folder, of this content alone."""
        return str(_folder())

    def get_source_stamp(self) -> str:
        """The content is in the folder's name."""
        return _folder().name

    def get_disambiguator(self) -> str:
        """Functions of one name are told apart by module and line."""
        return self._name

    @classmethod
    def from_function(cls, function: Any, file: str) -> "ByContent | None":
        """The locator of a kernel; none for others, or where nothing can be written."""
        if Path(file).parent != HERE:
            return None
        locator = cls(function, file)
        try:
            locator.ensure_cache_path()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError):
            return None
        return locator


caching.CacheImpl._locator_classes.insert(0, ByContent)
