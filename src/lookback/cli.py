"""The entry point `lookback COMMAND key=value …`; the commands are in commands/.

Each rule of the Snakemake DAG calls one stage with a plan. A user can also train one run by hand:
`lookback train task=adding model=lstm seed=3 trainer.max_steps=200`.
"""

import sys
from collections.abc import Sequence

from lookback.commands import dispatch, worker


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns the exit status: 0 success, 1 failure, 2 a mistake that the user can correct.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(dispatch.HELP, end="")
        return 0 if words else 2
    try:
        status = worker.hand_over(words)
    except KeyboardInterrupt:
        return 130  # Ctrl-C also interrupted the worker's job, which prints the message
    return dispatch.run(words, forked=False) if status is None else status
