"""Writes the result files of a cell (one model on one task) from the files of its seeds."""

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
from lookback.storage.cell_paths import CellPaths, SeedPaths
from lookback.storage.contents import contents_of
from lookback.storage.tables import read_parquet, write_parquet


def assemble(
    config: Mapping[str, Any], plan: Path, task: Path, runs: Path, seeds: list[int], out: Path
) -> None:
    """Write the result files of one model on one task into the folder `out`.

    The result files are made from the files of the finished seeds in the folder `runs`. `config`
    holds the settings that the model was trained with. A plan file holds the settings of one stage.
    Every result file except the weights stores the digests of the plan files that it was made from.
    The file metrics.json is written last. It lists the other result files with their sizes and
    digests, and the seeds whose training diverged, with the reasons.
    """
    cell, facts = CellPaths(out), Facts.from_dict(read_json(task))
    plans = {**read_json(task)["plans"], "train": plan.stem}
    if tuned_by := read_json(plan).get("tuned_by"):
        plans["tune"] = tuned_by
    folders = {seed: run_store.seed_folder(runs, seed) for seed in sorted(seeds)}
    failures = {seed: run_store.failure(folder) for seed, folder in folders.items()}
    failed = {seed: reason for seed, reason in failures.items() if reason}
    folders = {seed: folder for seed, folder in folders.items() if seed not in failed}
    results = {seed: read_json(SeedPaths(folder).result) for seed, folder in folders.items()}

    checkpoints = {cell.checkpoint(seed): folder for seed, folder in folders.items()}
    for path, folder in checkpoints.items():
        with atomic_write(path) as temporary:
            shutil.copyfile(SeedPaths(folder).weights, temporary)
    for stale in set(cell.checkpoints.glob("seed=*.ckpt")) - set(checkpoints):
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
    # The file cost.json is not listed, because its measured times differ in every run.
    others = (cell.config, cell.history, cell.predictions, *checkpoints)
    metrics = {
        "plans": plans,
        "files": contents_of(out, others),
        "metric": facts.metric,
        "parameters": results[min(results)]["parameters"],
        "hidden_size": config["model"].get("hidden_size"),
        "seeds": {str(seed): result["scores"] for seed, result in results.items()},
        # of the splits that each run draws for itself; task.json has those of all other splits
        "digest": {str(seed): result["digest"] for seed, result in results.items()},
        "failed": {str(seed): reason for seed, reason in failed.items()},
    }
    write_json(cell.metrics, metrics)


def _history(seed: int, folder: Path) -> pd.DataFrame:
    """Table of the losses and metrics logged in the training of one seed, with one value per row.

    The columns are seed, step, split, metric and value. The table leaves out the time stamps of the
    training log, so that an interrupted training gives the same table as an uninterrupted one.
    """
    rows = [
        (seed, entry["step"], entry["split"], metric, value)
        for entry in journals.read(SeedPaths(folder).journal)
        if "values" in entry
        for metric, value in entry["values"].items()
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "split", "metric", "value"])
