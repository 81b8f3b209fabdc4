"""Stage `prepare`: `task.json`, all that a model needs to be built, with a digest of the data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lookback.data.content import digest_of
from lookback.data.downloaded import downloaded
from lookback.data.task import SPLITS, Task
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import read_json, write_json
from lookback.storage.paths import MANIFEST


def main(plan: Path, out: Path) -> None:
    """Write the facts of the plan's task, which is named by the folder of `out`.

    Raises UserError where the task's settings or its downloaded files are wrong.
    """
    config = read_json(plan)["task"]
    task: Task = instantiate(config)
    digests = {split: digest_of(task.dataset(split)) for split in SPLITS}
    described = {"name": out.parent.name, "digest": digests, "plans": _plans(plan, config)}
    write_json(out, {**task.facts().to_dict(), **described})


def _plans(plan: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """This plan, and that of the download before it where there is one."""
    plans = {"prepare": plan.stem}
    if "dataset" in config:
        plans.update(read_json(downloaded(config["dataset"]["name"], MANIFEST))["plans"])
    return plans
