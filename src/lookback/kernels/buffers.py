"""Reuse of large arrays between passes.

Fresh memory costs a page fault every 4 KiB, which takes as long as computing the gates. A kept
array is free for reuse if only this module refers to the array, because then no forward pass waits
for its backward pass and no tensor is a view of the array.
"""

import sys
from threading import Lock

import numpy as np

MOST = 512 * 2**20  # bytes kept for reuse; a larger array is never kept

_kept: list[np.ndarray] = []
_lock = Lock()


def buffer(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of the given `shape`, with arbitrary content."""
    with _lock:
        for place in range(len(_kept)):
            if _kept[place].shape == shape and sys.getrefcount(_kept[place]) == 2:
                _kept.append(_kept.pop(place))  # most recently used last
                return _kept[-1]
        fresh = np.empty(shape, np.float32)
        if fresh.nbytes <= MOST:
            _kept.append(fresh)
            while sum(array.nbytes for array in _kept) > MOST:
                del _kept[0]
        return fresh
