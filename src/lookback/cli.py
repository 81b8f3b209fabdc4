"""`lookback STAGE key=value …`: thin; a stage is imported when it is called.

The rules of the DAG call the stages with a plan. A person trains one run by hand:
`lookback train task=adding model=lstm seed=3 trainer.max_steps=200`.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lookback import usage, worker
from lookback.errors import TRACEBACK, Mistake, nearest

Arguments = dict[str, str]


def _seeds(text: str) -> list[int]:
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds):
        raise Mistake(
            f"seeds={text} cannot be used: seeds are whole numbers from 0 on, as in seeds=0,1,2."
        )
    return [int(seed) for seed in seeds]


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise Mistake(f"port={text} cannot be used: a port is a number from 1 to 65535.")
    return int(text)


# Each stage: its module, and its arguments with what makes them of text.
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
    "track": ("lookback.tracking", {"plan": Path, "uri": str, "out": Path}),
}
COMMANDS = {
    "ui": "open MLflow's pages on what was tracked; [port=5000] [uri=…]",
    "models": "list all models with their size, cost and source; [task=NAME]",
    "clean": "delete plans, code copies and seeds that no result refers to",
}
HELP = f"""How far back does a sequence model remember, and can its explanation be believed?

  snakemake --cores N [--config study=NAME]     run a study
  lookback train task=NAME model=NAME [seed=N] [KEY=VALUE …]
                                                one run by hand, into results/by-hand/
  lookback track [--follow] [study=NAME] [uri=URI]
                                                a study to MLflow; --follow: while it trains
{"".join(f"  lookback {name:<38}{text}{chr(10)}" for name, text in COMMANDS.items())}
The DAG's own stages, called with a plan: {", ".join(STAGES)}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 well, 1 failed, 2 a mistake that a person can mend."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    try:
        status = worker.hand_over(words)
    except KeyboardInterrupt:
        return 130  # the job itself was interrupted too, and says so
    return run(words, forked=False) if status is None else status


def run(words: Sequence[str], *, forked: bool) -> int:
    """Run one command in this process."""
    try:
        _dispatch(words[0], words[1:])
        status = 0
    except Mistake as mistake:
        if os.environ.get(TRACEBACK):
            raise
        status = _say(str(mistake), 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        status = _say(about_disk(error, words[0]), 2)
    except RuntimeError as error:
        if type(error).__name__ != "Diverged":  # naming its class would import Lightning
            raise
        status = _say(f"training diverged: {error}.\nTry a smaller recipe.optimizer.lr.", 1)
    except KeyboardInterrupt:
        status = _say("stopped; what was finished is kept.", 130)
    usage.record(words[0], forked=forked)
    return status


def _say(text: str, status: int) -> int:
    print("lookback: " + text.replace("\n", "\n          "), file=sys.stderr)
    return status


def about_disk(error: OSError, stage: str) -> str:
    """What the disk refused to a stage, and the cure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = error.filename or f"what `lookback {stage}` made"
        return (
            f"the disk is full: {what} could not be written. Make room and start again: "
            "finished seeds are kept."
        )
    what = error.filename or f"a file of `lookback {stage}`"
    refused = "opened" if error.errno == errno.EACCES else "written"
    return (
        f"{what} may not be {refused}: {error.strerror}. Check owner and mode, "
        "its own and its folder's."
    )


def _dispatch(stage: str, words: Sequence[str]) -> None:
    if stage not in (*STAGES, *COMMANDS):
        found = nearest(stage, (*STAGES, *COMMANDS))
        near = f" Did you mean '{found}'?" if found else ""
        raise Mistake(f"there is no command '{stage}'.{near} `lookback --help` lists all.")
    said = _parse(stage, words)
    if stage in STAGES:
        if stage == "train" and "plan" not in said:
            from lookback.by_hand import train

            return train(words)
        if stage == "track" and "plan" not in said:
            from lookback.track_by_hand import track

            _allow(stage, said, ("study", "uri"))
            return track(**said, follow="--follow" in words)
        module, kinds = STAGES[stage]
        _require(stage, said, kinds)
        values = {name: kind(said[name]) for name, kind in kinds.items()}
        import_module(module).main(**values)
        return None
    if stage == "ui":
        _allow(stage, said, ("port", "uri"))
        port = _port(said.get("port", "5000"))
        from lookback.track_by_hand import local_uri
        from lookback.tracking import ui

        return ui(said.get("uri") or local_uri(), port)
    if stage == "models":
        from lookback.list_models import list_models

        _allow(stage, said, ("task",))
        return list_models(**said)
    from lookback.clean import clean

    _allow(stage, said, ())
    return clean()


def _parse(stage: str, words: Sequence[str]) -> Arguments:
    for word in words:
        known = word.startswith("~") or (stage, word) == ("track", "--follow")
        if "=" not in word and not known:
            near = " Did you mean '--follow'?" if stage == "track" and word[:1] == "-" else ""
            raise Mistake(f"`lookback {stage}` takes key=value, not '{word}'.{near}")
    return dict(word.split("=", 1) for word in words if "=" in word)


def _require(stage: str, said: Arguments, names: Sequence[str] | dict[str, Any]) -> None:
    missing = [name for name in names if name not in said]
    if missing:
        raise Mistake(f"`lookback {stage}` needs {missing[0]}=….")
    _allow(stage, said, tuple(names))


def _allow(stage: str, said: Arguments, names: Sequence[str]) -> None:
    for name in said:
        if name not in names:
            found = nearest(name, names)
            near = f" Did you mean '{found}'?" if found else ""
            raise Mistake(f"`lookback {stage}` has no argument '{name}'.{near}")
