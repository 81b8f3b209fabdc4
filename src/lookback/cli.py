"""The entry point of the command line `lookback COMMAND key=value …`.

The code of the commands is in commands/. Each rule of the Snakemake DAG runs `lookback` with the
name of a stage and the path of the stage's plan. A user can also train a single run by hand, as in
`lookback train task=adding model=lstm seed=3 trainer.max_steps=200`.
"""

import io
import sys
from collections.abc import Sequence

from lookback.commands import dispatch, worker


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    The exit status is 0 after success, 1 after a failure, and 2 after a mistake that the user can
    correct.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without UTF-8 shows «?» for a character that the terminal does not have.
        sys.stdout.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(dispatch.HELP, end="")
        return 0 if words else 2
    try:
        status = worker.hand_over(words)
    except KeyboardInterrupt:
        # Ctrl-C also interrupts the job in the worker process, and the job prints a message.
        return 130
    return dispatch.run(words, forked=False) if status is None else status
