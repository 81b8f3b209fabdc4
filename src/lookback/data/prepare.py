"""Stage `prepare`: check a task's data, and write `task.json`, which describes the task.

The file task.json holds the task's facts, a digest of each split, and two facts of all splits. If
each run draws its own train and validation splits, the facts describe those of seed 0, and
task.json has no digest of them. The two facts of all splits are
`shortest`, the steps of the shortest sequence, and `asked`, the offsets of the queries from the end
of a sequence.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lookback.data.batch import SequenceDataset
from lookback.data.check import check_data, check_facts
from lookback.data.content import digest_of
from lookback.data.downloaded import downloaded
from lookback.data.task import SPLITS, Task
from lookback.runtime.instantiate import MISSING_FILE, instantiate, missing_file
from lookback.storage.atomic import read_json, write_json
from lookback.storage.paths import MANIFEST


def main(plan: Path, out: Path) -> None:
    """Check the data of a task, and write the description of the task to the file `out`.

    The file `plan` holds the settings of the task. The name of the task is the name of the folder
    that contains `out`. Raises UserError if the settings of the task are wrong, if its data or its
    facts have an error, or if a file that it reads is missing.
    """
    config = read_json(plan)["task"]
    task: Task = instantiate(config)
    try:
        # A generated task draws test first, then validation, then train.
        drawn = {split: task.dataset(split) for split in reversed(SPLITS)}
        datasets = {split: drawn[split] for split in SPLITS}
        check_data(datasets)
        facts = task.facts()
    except MISSING_FILE as error:
        raise missing_file(config, error) from error
    check_facts(facts, datasets)
    shared = [split for split in SPLITS if split not in task.drawn_per_run]
    digests = {split: digest_of(datasets[split]) for split in shared}
    filled = [data for data in datasets.values() if len(data)]
    train = datasets["train"]
    facts = replace(facts, padded_length=train.inputs.shape[1], queries=train.query.shape[1])
    identity = {
        "name": out.parent.name,
        "digest": digests,
        "shortest": min(int(data.lengths.min()) for data in filled),
        "asked": asked(filled),
        "plans": _plans(plan, config),
    }
    write_json(out, {**facts.to_dict(), **identity})


def asked(datasets: Iterable[SequenceDataset]) -> list[int] | None:
    """The offsets of the queries from the end of a sequence, where −1 is the last step.

    The result is None if two sequences are asked at different offsets, or at different numbers of
    steps. Padding queries (step −1) do not count.
    """
    different: set[tuple[int, ...]] = set()
    for data in datasets:
        is_padding = data.query < 0
        offsets = (data.query - data.lengths.unsqueeze(1)).masked_fill(is_padding, 0)
        # A stable sort moves the padding queries of each sequence behind its other queries.
        offsets = offsets.gather(1, is_padding.int().argsort(dim=1, stable=True))
        if (offsets != offsets[0]).any():
            return None
        different.add(tuple(offset for offset in offsets[0].tolist() if offset))
    return list(different.pop()) if len(different) == 1 else None


def _plans(plan: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """For each stage that made the data, the digest of the plan file of the stage.

    The stages are `prepare` and, if the task uses a downloaded dataset, `download`.
    """
    plans = {"prepare": plan.stem}
    if "dataset" in config:
        plans.update(read_json(downloaded(config["dataset"]["name"], MANIFEST))["plans"])
    return plans
