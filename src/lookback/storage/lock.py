"""results/ held by one process: a lock that the kernel frees when its holder dies."""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from lookback.errors import UserError
from lookback.storage.paths import LOCK

GLANCE = 0.1  # seconds, more than a look of `is_held` lasts


def hold() -> TextIO:
    """Hold results/ as long as the file given back is open.

    Raises UserError where another run holds it, or where the file system knows no locks.
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
            f"results/ cannot be locked: {error.strerror}. Its file system must know flock "
            "(on Lustre: mount it with -o flock)."
        ) from error
    return lock


def _take(lock: TextIO) -> None:
    """Lock a file; a second time where the first met no more than a look of `is_held`."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(GLANCE)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path = LOCK) -> bool:
    """Whether a process holds the lock at `path`, which is not there before it was first held."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
