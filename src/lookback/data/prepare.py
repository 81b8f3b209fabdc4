"""Stage `prepare`: `task.json`, all that a model needs to be built, with a digest of the data."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from lookback.build import build
from lookback.data.downloaded import downloaded
from lookback.data.task import SPLITS, Task
from lookback.files import digest, read_json, write_json


def main(plan: Path, out: Path) -> None:
    """Write the facts of the plan's task, which is named by the folder of `out`.

    Raises Mistake where the task's settings or its downloaded files are wrong.
    """
    config = read_json(plan)["task"]
    task: Task = build(config)
    described = {"name": out.parent.name, "digest": digest_of(task), "plans": _plans(plan, config)}
    write_json(out, {**task.facts().to_dict(), **described})


def digest_of(task: Task) -> str:
    """A digest of every tensor of every split."""
    lines = []
    for split in SPLITS:
        dataset = task.dataset(split)
        for field in fields(dataset):
            tensor = getattr(dataset, field.name)
            if isinstance(tensor, Tensor):
                content = hashlib.sha256(tensor.contiguous().numpy().data).hexdigest()
                lines.append(f"{split} {field.name} {tensor.dtype} {tuple(tensor.shape)} {content}")
    return digest("\n".join(lines))


def _plans(plan: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """This plan, and that of the download before it where there is one."""
    plans = {"prepare": plan.stem}
    if "dataset" in config:
        plans.update(read_json(downloaded(config["dataset"]["name"], "manifest.json"))["plans"])
    return plans
