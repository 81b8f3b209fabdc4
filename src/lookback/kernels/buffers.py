"""Reuse large arrays, so that a pass over a recurrent layer allocates no new memory.

The first write to each new memory page (4 KiB) causes a page fault. If the arrays were not reused,
the page faults of a pass would take as long as the computation of the gates. The function `buffer`
reuses an array only if nothing outside this module refers to the array. An array is therefore never
overwritten while a tensor or a later backward pass still uses it.
"""

import sys
from threading import Lock

import numpy as np

MOST = 512 * 2**20  # maximum total size of the arrays that are kept for reuse, in bytes

_kept: list[np.ndarray] = []
_lock = Lock()


def buffer(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of the given `shape`, whose elements have arbitrary values."""
    with _lock:
        for place in range(len(_kept)):
            if _kept[place].shape == shape and sys.getrefcount(_kept[place]) == 2:
                _kept.append(_kept.pop(place))  # the most recently used array is the last
                return _kept[-1]
        fresh = np.empty(shape, np.float32)
        if fresh.nbytes <= MOST:
            _kept.append(fresh)
            while sum(array.nbytes for array in _kept) > MOST:
                del _kept[0]
        return fresh
