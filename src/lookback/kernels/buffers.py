"""Arrays that are used again: fresh memory costs a page fault every 4 KiB, as much as the gates.

An array is free when nobody but this module refers to it: no pass that waits for its backward, no
tensor that is a view of it.
"""

import sys
from threading import Lock

import numpy as np

MOST = 512 * 2**20  # bytes kept; a pass that needs more gets it fresh

_kept: list[np.ndarray] = []
_lock = Lock()


def buffer(shape: tuple[int, ...]) -> np.ndarray:
    """An array (float32) of `shape`, its content arbitrary."""
    with _lock:
        for place in range(len(_kept)):
            if _kept[place].shape == shape and sys.getrefcount(_kept[place]) == 2:
                _kept.append(_kept.pop(place))  # the latest last
                return _kept[-1]
        fresh = np.empty(shape, np.float32)
        if fresh.nbytes <= MOST:
            _kept.append(fresh)
            while sum(array.nbytes for array in _kept) > MOST:
                del _kept[0]
        return fresh
