"""The locks of the folder results/.

Only one study at a time writes to results/. Every command that reads plan files holds a shared
lock of the plans, so that `lookback clean` deletes no plan file that a command still needs. The
operating system releases a lock when the process that holds the lock dies.
"""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from lookback.errors import UserError
from lookback.storage.paths import LOCK, PLANS_LOCK

RETRY_AFTER = 0.1  # seconds between two attempts to lock; `is_held` keeps a lock for less time


def hold() -> TextIO:
    """Lock the folder results/ until the caller closes the returned file.

    Raises UserError if another process holds the lock of results/, or if the file system of
    results/ does not support flock.
    """
    return _locked(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB, "another run is writing to results/")


def use_plans() -> TextIO:
    """Keep `lookback clean` from deleting plan files until the caller closes the returned file.

    If `lookback clean` is running, the function waits for its end. Raises UserError if the file
    system of results/ does not support flock.
    """
    return _locked(PLANS_LOCK, fcntl.LOCK_SH, "")


def hold_plans() -> TextIO:
    """Keep all other commands from using plan files until the caller closes the returned file.

    Raises UserError if another process uses plan files, or if the file system of results/ does not
    support flock.
    """
    return _locked(
        PLANS_LOCK,
        fcntl.LOCK_EX | fcntl.LOCK_NB,
        "another lookback command uses the plans in results/ (such as `lookback train`)",
    )


def _locked(path: Path, mode: int, refusal: str) -> TextIO:
    """Open and lock the file `path`. Raises UserError with the text `refusal` if it is locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a")
    try:
        _take(lock, mode)
    except BlockingIOError:
        lock.close()
        raise UserError(f"{refusal}; wait for it or stop it.") from None
    except OSError as error:
        lock.close()
        raise UserError(
            f"results/ cannot be locked: {error.strerror}. Its file system must support flock "
            "(on Lustre: mount it with -o flock)."
        ) from error
    return lock


def _take(lock: TextIO, mode: int) -> None:
    """Lock the file `lock`, with a second attempt if the first attempt fails.

    The first attempt can fail because `is_held` in another process locks the file for a moment.
    """
    try:
        fcntl.flock(lock, mode)
    except BlockingIOError:
        time.sleep(RETRY_AFTER)
        fcntl.flock(lock, mode)


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
