"""`lookback train task=… model=…`: one run by hand, by the same stages, into results/by-hand/."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lookback.errors import Mistake
from lookback.files import read_json
from lookback.plan import make, start
from lookback.study import compose_by_hand

ROOT = Path(__file__).parents[2]


def train(words: Sequence[str]) -> None:
    """Plan one cell of one seed and run its stages in this process.

    Raises Mistake where task or model is missing or not known, or an override does not fit.
    """
    said = dict(
        word.split("=", 1) for word in words if word.split("=")[0] in ("task", "model", "seed")
    )
    overrides = [word for word in words if word.split("=")[0] not in said]
    for needed in ("task", "model"):
        if needed not in said:
            raise Mistake(f"`lookback train` needs {needed}=…: a name from conf/{needed}/.")
    seed = said.get("seed", "0")
    if not seed.isdecimal():
        raise Mistake(f"seed={seed} is no seed; it should be a whole number from 0 on.")
    study = compose_by_hand(ROOT / "conf", said["task"], said["model"], int(seed), overrides)
    path = make(ROOT, study)
    start(path)
    index = read_json(path)
    folder = prepare(index, said["task"])
    cell = index["cells"][f"{said['task']}/{said['model']}"]
    import_module("lookback.training.train").main(
        Path(cell["train"]["plan"]), folder / "task.json", [int(seed)], folder / said["model"]
    )
    print((folder / said["model"] / "metrics.json").read_text(encoding="utf-8"), end="")


def prepare(index: Mapping[str, Any], task: str) -> Path:
    """Download and prepare one task of a plan's index; the task's folder."""
    planned = index["tasks"][task]
    folder = Path("results", index["study"]["name"], task)
    if planned["dataset"]:
        _stage(
            "download",
            index["datasets"][planned["dataset"]],
            Path("results/data", planned["dataset"], "manifest.json"),
        )
    _stage("prepare", planned["prepare"], folder / "task.json")
    return folder


def _stage(name: str, stage: dict[str, str], out: Path) -> None:
    import_module(f"lookback.data.{name}").main(plan=Path(stage["plan"]), out=out)
