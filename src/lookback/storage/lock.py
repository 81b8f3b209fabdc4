"""The lock of the folder results/, so that only one process at a time writes to the folder.

The operating system releases the lock when the process that holds the lock dies.
"""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from lookback.errors import UserError
from lookback.storage.paths import LOCK

RETRY_AFTER = 0.1  # seconds between two attempts to lock; `is_held` keeps a lock for less time


def hold() -> TextIO:
    """Lock the folder results/ until the caller closes the returned file.

    Raises UserError if another process holds the lock of results/, or if the file system of
    results/ does not support flock.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("a")
    try:
        _take(lock)
    except BlockingIOError:
        lock.close()
        raise UserError("another run is writing to results/; wait for it or stop it.") from None
    except OSError as error:
        lock.close()
        raise UserError(
            f"results/ cannot be locked: {error.strerror}. Its file system must support flock "
            "(on Lustre: mount it with -o flock)."
        ) from error
    return lock


def _take(lock: TextIO) -> None:
    """Lock the file `lock`, with a second attempt if the first attempt fails.

    The first attempt can fail because `is_held` in another process locks the file for a moment.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(RETRY_AFTER)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path = LOCK) -> bool:
    """Whether a process has locked the file `path`. Returns False if the file does not exist."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
