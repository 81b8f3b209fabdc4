"""The lock of results/: one process at a time. The kernel frees a dead process's lock."""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from lookback.errors import UserError
from lookback.storage.paths import LOCK

RETRY_AFTER = 0.1  # seconds between two tries; `is_held` holds the lock for less


def hold() -> TextIO:
    """Lock results/ until the returned file is closed.

    Raises UserError if another run holds the lock, or if the file system does not support flock.
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
    """Lock a file. Try twice, because `is_held` in another process locks the file for a moment."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(RETRY_AFTER)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path = LOCK) -> bool:
    """Whether a process holds the lock file `path`. False if the file does not exist."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
