"""Runs a `lookback` command, and turns its errors into messages and exit statuses.

The module of a stage is imported only when the stage is called, because importing the modules of
all stages takes seconds.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lookback.errors import TRACEBACK, Diverged, UserError, nearest
from lookback.planning.brackets import joined
from lookback.runtime import cpu_time
from lookback.runtime.settings import LARGEST_SEED
from lookback.storage.secrets import forget_empty_uri

Arguments = dict[str, str]
# The errors for which `disk_message` has a message.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def _seeds(text: str) -> list[int]:
    """Convert a text such as «0,1,2» to a list of seeds.

    Raises UserError if a seed is not a whole number from 0 to LARGEST_SEED.
    """
    seeds = text.split(",")
    if not all(seed.isdecimal() and int(seed) <= LARGEST_SEED for seed in seeds):
        raise UserError(
            f"seeds={text} cannot be used: seeds are whole numbers from 0 to {LARGEST_SEED}, "
            "as in seeds=0,1,2."
        )
    return [int(seed) for seed in seeds]


def _port(text: str) -> int:
    """Convert the text of a port to a number.

    Raises UserError if the text is not a whole number from 1 to 65535.
    """
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise UserError(f"port={text} cannot be used: a port is a number from 1 to 65535.")
    return int(text)


# For each stage: its module, and the function that parses the text of each of its arguments.
STAGES: dict[str, tuple[str, dict[str, Callable[[str], Any]]]] = {
    "download": ("lookback.data.download", {"plan": Path, "out": Path}),
    "prepare": ("lookback.data.prepare", {"plan": Path, "out": Path}),
    "tune": ("lookback.training.tune", {"plan": Path, "task": Path, "out": Path}),
    "train": (
        "lookback.training.train",
        {"plan": Path, "task": Path, "seeds": _seeds, "out": Path},
    ),
    "probe": ("lookback.probes.probe", {"plan": Path, "cell": Path, "out": Path}),
    "explain": ("lookback.explain.explain", {"plan": Path, "cell": Path, "out": Path}),
    "summarise": ("lookback.summarise.summarise", {"plan": Path, "out": Path}),
    "report": ("lookback.report.report", {"plan": Path, "summary": Path, "out": Path}),
    "track": ("lookback.tracking.track", {"plan": Path, "out": Path}),
}
# The commands with options such as `--data FILE`: module and function.
WITH_OPTIONS = {
    "init": ("lookback.commands.init_study", "init"),
    "predict": ("lookback.commands.predict", "predict"),
}
COMMANDS = {
    "ui": "open MLflow's pages on the tracked runs; [port=5000] [uri=…]",
    "models": "list all models with their size, cost and source; [task=NAME]",
    "clean": "delete plans, code copies and seeds that no result refers to",
}
HELP = f"""How far back does a sequence model remember, and can its explanation be believed?

  snakemake --cores N [--config study=NAME]     run a study
  lookback train task=NAME model=NAME [seed=N] [KEY=VALUE …]
                                                one run by hand, into results/by-hand-<digest>/
  lookback init NAME --data FILE --target COLUMN [--time COLUMN] [--group COLUMN] [--horizon N]
                [--window N] [--split COLUMN] [--force]
                                                write conf/task/NAME.yaml and conf/study/NAME.yaml
  lookback predict CELL --data FILE --out FILE  the answers of trained networks for a new table
  lookback track [--follow] [study=NAME] [uri=URI]
                                                send a study to MLflow; --follow: while it trains
{"".join(f"  lookback {name:<38}{text}{chr(10)}" for name, text in COMMANDS.items())}
Stages of the DAG, called with a plan: {", ".join(STAGES)}.
"""


def run(words: Sequence[str], *, forked: bool) -> int:
    """Run one command in this process, and return its exit status.

    `forked` says whether this process is a child of the worker. The CPU time of such a
    child is recorded here, because Snakemake does not count it.
    """
    try:
        _call(words[0], words[1:])
        status = 0
    except UserError as error:
        if os.environ.get(TRACEBACK):
            raise
        status = _print_error(str(error), 2)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        status = _print_error(disk_message(error, f"lookback {words[0]}"), 2)
    except SyntaxError:
        mistake = _syntax_mistake()
        if not mistake or os.environ.get(TRACEBACK):
            raise
        status = _print_error(mistake, 2)
    except Diverged as reason:
        status = _print_error(
            f"training diverged: {reason}.\nTry a smaller recipe.optimizer.lr.", 1
        )
    except KeyboardInterrupt:
        status = _print_error("stopped; all finished seeds and files are kept.", 130)
    cpu_time.record(words[0], forked=forked)
    return status


def _syntax_mistake() -> str:
    """The error message for the first module of lookback that Python cannot parse.

    The result is empty if Python can parse all modules.
    """
    from lookback.planning.parse_source import parse_source

    package = Path(__file__).parents[1]
    try:
        for path in sorted(package.rglob("*.py")):
            parse_source(path, Path("src", package.name, path.relative_to(package)))
    except UserError as error:
        return str(error)
    return ""


def _print_error(text: str, status: int) -> int:
    """Print a message to standard error, and return `status` unchanged."""
    print("lookback: " + text.replace("\n", "\n          "), file=sys.stderr)
    return status


def disk_message(error: OSError, command: str) -> str:
    """The error message for a full disk or a missing permission, with the file and the remedy.

    `command` is the command that met the error, such as «lookback train» or «snakemake».
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        file = error.filename or f"the output of `{command}`"
        return (
            f"the disk is full: {file} could not be written. Make room and start again: "
            "finished seeds are kept."
        )
    file = error.filename or f"a file of `{command}`"
    action = "opened" if error.errno == errno.EACCES else "written"
    return (
        f"{file} may not be {action}: {error.strerror}. Check the owner and the mode of the file "
        "and of its folder."
    )


def _call(command: str, words: Sequence[str]) -> None:
    """Check the arguments of a command, then import and call the command's function."""
    if command == "train" and not any(word.startswith("plan=") for word in words):
        words = joined(words)
    if command in WITH_OPTIONS:
        module, function = WITH_OPTIONS[command]
        getattr(import_module(module), function)(words)
        return
    arguments = _parse(command, words)
    forget_empty_uri()
    if command == "train" and "plan" not in arguments:
        from lookback.commands.train_one import train

        train(words)
    elif command == "track" and "plan" not in arguments:
        from lookback.commands.track_study import track

        _allow(command, arguments, ("study", "uri"))
        track(**arguments, follow="--follow" in words)
    elif command in STAGES:
        module, converters = STAGES[command]
        _require(command, arguments, tuple(converters))
        values = {name: convert(arguments[name]) for name, convert in converters.items()}
        import_module(module).main(**values)
    elif command == "ui":
        _allow(command, arguments, ("port", "uri"))
        port = _port(arguments.get("port", "5000"))
        from lookback.commands.track_study import open_pages

        open_pages(arguments.get("uri"), port)
    elif command == "models":
        from lookback.commands.list_models import list_models

        _allow(command, arguments, ("task",))
        list_models(**arguments)
    else:
        from lookback.commands.clean import clean

        _allow(command, arguments, ())
        clean()


def _parse(command: str, words: Sequence[str]) -> Arguments:
    """The key=value arguments of a command.

    Raises UserError if the command is unknown, or if an argument is neither key=value nor an option
    that the command has.
    """
    if command not in (*STAGES, *COMMANDS):
        near = _did_you_mean(command, (*WITH_OPTIONS, *STAGES, *COMMANDS))
        raise UserError(f"there is no command '{command}'.{near} `lookback --help` lists all.")
    for word in words:
        is_option = word.startswith("~") or (command, word) == ("track", "--follow")
        if "=" not in word and not is_option:
            near = " Did you mean '--follow'?" if command == "track" and word[:1] == "-" else ""
            raise UserError(f"`lookback {command}` takes key=value, not '{word}'.{near}")
    return dict(word.split("=", 1) for word in words if "=" in word)


def _require(command: str, arguments: Arguments, names: Sequence[str]) -> None:
    """Raise UserError unless the arguments are exactly those in `names`."""
    missing = [name for name in names if name not in arguments]
    if missing:
        raise UserError(f"`lookback {command}` needs {missing[0]}=….")
    _allow(command, arguments, names)


def _allow(command: str, arguments: Arguments, names: Sequence[str]) -> None:
    """Raise UserError if an argument is not among `names`."""
    for name in arguments:
        if name not in names:
            near = _did_you_mean(name, names)
            raise UserError(f"`lookback {command}` has no argument '{name}'.{near}")


def _did_you_mean(word: str, choices: Sequence[str]) -> str:
    choice = nearest(word, choices)
    return f" Did you mean '{choice}'?" if choice else ""
