"""Stage `prepare`: write `task.json`, which holds a task's facts and a digest of each split."""

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
    """Write the facts of a task and the digests of its splits to the file `out`.

    The file `plan` holds the settings of the task. The name of the task is the name of the folder
    that contains `out`. Raises UserError if the settings of the task are wrong, or if its
    downloaded files are missing.
    """
    config = read_json(plan)["task"]
    task: Task = instantiate(config)
    digests = {split: digest_of(task.dataset(split)) for split in SPLITS}
    identity = {"name": out.parent.name, "digest": digests, "plans": _plans(plan, config)}
    write_json(out, {**task.facts().to_dict(), **identity})


def _plans(plan: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """For each stage that made the data, the digest of the plan file of the stage.

    The stages are `prepare` and, if the task uses a downloaded dataset, `download`.
    """
    plans = {"prepare": plan.stem}
    if "dataset" in config:
        plans.update(read_json(downloaded(config["dataset"]["name"], MANIFEST))["plans"])
    return plans
