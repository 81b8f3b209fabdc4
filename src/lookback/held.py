"""results/ held by one process: a lock that the kernel frees when its holder dies."""

import fcntl
from pathlib import Path
from typing import TextIO

from lookback.errors import Mistake

LOCK = Path("results/.lock")


def hold() -> TextIO:
    """Hold results/ as long as the file given back is open.

    Raises Mistake where another run holds it, or where the file system knows no locks.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = LOCK.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Mistake("another run is writing to results/; wait for it or stop it.") from None
    except OSError as error:
        lock.close()
        raise Mistake(
            f"results/ cannot be locked: {error.strerror}. Its file system must know flock "
            "(on Lustre: mount it with -o flock)."
        ) from error
    return lock
