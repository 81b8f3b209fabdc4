"""A cell's declared files, made from the seeds that the store keeps."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lookback.data.task import Facts
from lookback.storage import journal as journals
from lookback.storage import run_store
from lookback.storage.atomic import atomic_write, read_json, write_json, write_text
from lookback.storage.paths import CellPaths, SeedPaths
from lookback.storage.tables import read_parquet, write_parquet


def assemble(
    config: Mapping[str, Any], plan: Path, task: Path, runs: Path, seeds: list[int], out: Path
) -> None:
    """Make a cell's declared files from its finished seeds; those that failed are named.

    `config` is the cell's as it was trained; the plans are named, by which it was.
    """
    cell, facts = CellPaths(out), Facts.from_dict(read_json(task))
    plans = {**read_json(task)["plans"], "train": plan.stem}
    if tuned_by := read_json(plan).get("tuned_by"):
        plans["tune"] = tuned_by
    folders = {seed: run_store.seed_folder(runs, seed) for seed in sorted(seeds)}
    failed = {seed: said for seed, it in folders.items() if (said := run_store.failure(it))}
    folders = {seed: folder for seed, folder in folders.items() if seed not in failed}
    results = {seed: read_json(SeedPaths(folder).result) for seed, folder in folders.items()}

    kept = {cell.checkpoint(seed): folder for seed, folder in folders.items()}
    for path, folder in kept.items():
        with atomic_write(path) as temporary:
            shutil.copyfile(SeedPaths(folder).weights, temporary)
    for stale in set(cell.checkpoints.glob("seed=*.ckpt")) - set(kept):
        stale.unlink(missing_ok=True)
    history = pd.concat([_history(seed, folder) for seed, folder in folders.items()])
    write_parquet(cell.history, history, plans)
    predictions = [read_parquet(SeedPaths(folder).predictions) for folder in folders.values()]
    write_parquet(cell.predictions, pd.concat(predictions), plans)
    costs = {str(seed): read_json(SeedPaths(folder).cost) for seed, folder in folders.items()}
    write_json(cell.cost, {"plans": plans, "seeds": costs})
    parts = ("task", "model", "recipe", "trainer", "match")
    trained = {name: config[name] for name in parts if config.get(name)}
    names = {"study": out.parents[1].name, "task_name": out.parent.name, "model_name": out.name}
    write_text(cell.config, yaml.safe_dump({"plans": plans, **names, **trained}))
    metrics = {
        "plans": plans,
        "metric": facts.metric,
        "parameters": results[min(results)]["parameters"],
        "hidden_size": config["model"].get("hidden_size"),
        "seeds": {str(seed): result["scores"] for seed, result in results.items()},
        "failed": {str(seed): reason for seed, reason in failed.items()},
    }
    write_json(cell.metrics, metrics)


def _history(seed: int, folder: Path) -> pd.DataFrame:
    """The journal without its times: the same for the same seed, however often it was killed."""
    rows = [
        (seed, entry["step"], entry["split"], metric, value)
        for entry in journals.read(SeedPaths(folder).journal)
        if "values" in entry
        for metric, value in entry["values"].items()
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "split", "metric", "value"])
