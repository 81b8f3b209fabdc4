"""Measures the peak memory of generated data at T = 10,000 steps.

Each task prepares its splits, and loads them as a training does, in processes of their own. The
base is a process that has imported the package. Also prints the memory of the splits with inputs in
float32 (or int64 for tokens) and int64 for everything else. Writes bench/results/data.json.

    python bench/data.py [sequences]
"""

import multiprocessing
import resource
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from writing import write

from lookback.data.batch import Batch
from lookback.data.check import check_data, check_facts
from lookback.data.content import digest_of
from lookback.data.task import SPLITS
from lookback.runtime.instantiate import instantiate

CONF = Path(__file__).parents[1] / "conf"
TASKS = ("delayed_recall", "adding", "temporal_order", "parity", "copy")
LENGTH = 10_000


def settings(name: str, sequences: int) -> dict:
    """The shipped settings of a task, at T = 10,000."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = OmegaConf.to_container(compose(overrides=[f"+task={name}"])["task"])
    config |= {"length": LENGTH, "train": sequences}
    return config | ({"longest_lag": LENGTH - 1} if name == "delayed_recall" else {})


def prepare(config: dict) -> float:
    """The peak of a process that checks, describes and digests all splits, in GB."""
    task = instantiate(config)
    drawn = {split: task.dataset(split) for split in reversed(SPLITS)}
    check_data(drawn)
    check_facts(task.facts(), drawn)
    for data in drawn.values():
        digest_of(data)
    return peak()


def load(config: dict) -> float:
    """The peak of a process that loads all splits, in GB."""
    task = instantiate(config)
    drawn = [task.dataset(split) for split in reversed(SPLITS)]
    assert len(drawn) == len(SPLITS)
    return peak()


def plain(config: dict) -> float:
    """The memory of all splits as batches show them, in GB."""
    task = instantiate(config | {"train": 2, "validation": 0, "test": 1})
    batch: Batch = task.dataset("train").batch(slice(1))
    fields = (batch.inputs, batch.lengths, batch.query, batch.target, batch.lag)
    sequence = sum(field.numel() * field.element_size() for field in fields)
    return sequence * sum(config[split] for split in SPLITS) / 1e9


def base(_: dict) -> float:
    """The peak of a process that does nothing, in GB."""
    return peak()


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    sequences = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rows = []
    print(f"{'task':<16}{'as shown':>10}{'base':>8}{'load':>8}{'prepare':>9}  GB")
    for name in TASKS:
        config = settings(name, sequences)
        row = {"task": name}
        for measure in (plain, base, load, prepare):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row[measure.__name__] = pool.apply(measure, (config,))
        rows.append(row)
        print(
            f"{name:<16}{row['plain']:>10.2f}{row['base']:>8.2f}"
            f"{row['load']:>8.2f}{row['prepare']:>9.2f}"
        )
    write("data", length=LENGTH, sequences=sequences, rows=rows)


if __name__ == "__main__":
    main()
