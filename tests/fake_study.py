"""A whole study as its results lie on disk, without training: 3 tasks × 5 models × 3 seeds."""

from pathlib import Path

import numpy as np
import pandas as pd

from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.provenance import plans_of
from lookback.storage.tables import read_parquet, write_npz, write_parquet

TASKS = {"adding": "mse", "digits_rows": "accuracy", "digits_pixels": "accuracy"}
SHAPES = {"adding": (50, 2), "digits_rows": (8, 8), "digits_pixels": (64, 1)}
MODELS = ("rnn", "lstm", "gru", "attention", "transformer")
SEEDS = (0, 1, 2)
EXPLAINERS = ("integrated_gradients", "occlusion", "attention")
# The test metric of each seed. On adding the gru is clear of all; on digits_rows two overlap.
ADDING = {
    "rnn": (0.171, 0.166, 0.168),
    "lstm": (0.0031, 0.0041, 0.0036),
    "gru": (0.0011, 0.0009, 0.0014),
    "attention": (0.165, 0.167, 0.1661),
    "transformer": (0.08, 0.02, 0.05),
}
ROWS = {
    "rnn": (0.91, 0.92, 0.93),
    "lstm": (0.9675, 0.97, 0.9725),
    "gru": (0.97, 0.9725, 0.965),
    "attention": (0.84, 0.85, 0.86),
    "transformer": (0.95, 0.9425, 0.955),
}
PIXELS = {
    "rnn": (0.11, 0.1, 0.105),
    "lstm": (0.71, 0.52, 0.66),
    "gru": (0.91, 0.88, 0.9),
    "attention": (0.31, 0.3, 0.29),
    "transformer": (0.75, 0.8, 0.78),
}
VALUES = {"adding": ADDING, "digits_rows": ROWS, "digits_pixels": PIXELS}


def write_study(
    root: Path,
    tasks: tuple[str, ...] = tuple(TASKS),
    seeds: tuple[int, ...] = SEEDS,
    **more: object,
) -> Path:
    """Write the study `quick` under `root`/results; gives the plan that summarises it.

    `more` goes into the plan's study, over what stands there.
    """
    study = {
        "name": "quick",
        "question": "Does a gated network remember longer than a plain one?",
        "overrides": [],
        "notices": [],
        "seeds": list(seeds),
        "matched": None,
        "tasks": {task: {"_target_": f"lookback.data.{task}.Task"} for task in tasks},
        "models": {m: {"_target_": f"lookback.models.{m}.M", "hidden_size": 32} for m in MODELS},
        "recipe": "default",
        "trained": {f"{t}/{m}": {"trainer": {"budget": None}} for t in tasks for m in MODELS},
        "published": [],
        "probes": {"gradient_flow": {"sequences": 256}},
        "explainers": {name: {"sequences": 4} for name in EXPLAINERS},
        **more,
    }
    cells = {}
    folder = root / "results" / "quick"
    for task in tasks:
        write_task(folder / task, task)
        for model in MODELS:
            expected = plans_of_cell(task, model, study)
            cells[f"{task}/{model}"] = expected
            write_cell(folder / task / model, task, model, seeds, expected)
    plan = {"stage": "summarise", "study": study, "cells": cells}
    plan |= {"code": {}, "libraries": {"pandas": "3.1.1", "scipy": "1.17.1"}}
    path = root / "results" / ".plan" / "summarise" / f"{digest(str(plan))}.yaml"
    write_json(path, plan)
    return path


def plans_of_cell(task: str, model: str, study: dict) -> dict:
    """The plans that each result of a cell must name."""
    tune = {"tune": digest(f"tune {task} {model}")} if study.get("tune") else {}
    train = {"prepare": digest(task), **tune, "train": digest(task + model)}
    return {
        **({"tune": {"prepare": digest(task), **tune}} if tune else {}),
        "train": train,
        "probe": {name: {**train, "probe": digest(name)} for name in study["probes"]},
        "explain": {name: {**train, "explain": digest(name)} for name in study["explainers"]},
    }


def write_task(folder: Path, task: str) -> None:
    is_value = TASKS[task] == "mse"
    facts = {
        "kind": "value" if is_value else "class",
        "metric": TASKS[task],
        "outputs": 1 if is_value else 10,
        "baseline": 1 / 6 if is_value else 0.1075,
        "baseline_name": "mean of the targets" if is_value else "most frequent class",
        "other_baselines": {"always 0": 1.1667} if is_value else {},
        **({"optimum": 0.0} if is_value else {}),  # of a real task nobody knows it
    }
    write_json(folder / "task.json", {**facts, "name": task, "plans": {"prepare": digest(task)}})


def write_cell(folder: Path, task: str, model: str, seeds: tuple[int, ...], plans: dict) -> None:
    metric, known = TASKS[task], VALUES[task][model]
    values = {seed: known[seed % len(known)] for seed in seeds}
    parameters = 1000 + 731 * MODELS.index(model)
    by_seed = {str(s): {f"test/{metric}": values[s], "step": 900, "steps": 1000} for s in seeds}
    metrics = {"plans": plans["train"], "metric": metric, "parameters": parameters}
    metrics["hidden_size"] = 32
    write_json(folder / "metrics.json", {**metrics, "seeds": by_seed})
    spent = {"train_seconds": 10.25, "evaluate_seconds": 0.5, "device": "cpu", "threads": 1}
    code = {"commit": "c0ffee" * 6, "dirty": False, "versions": {"torch": "2.13.0"}}
    write_json(
        folder / "cost.json",
        {"plans": plans["train"], "seeds": {str(s): {**spent, **code} for s in seeds}},
    )
    history = pd.concat([history_of(metric, values[s], s) for s in seeds])
    write_parquet(folder / "history.parquet", history, plans["train"])
    answers = pd.concat([answers_of(metric, values[s]).assign(seed=s) for s in seeds])
    write_parquet(folder / "predictions.parquet", answers, plans["train"])
    if "tune" in plans:
        write_tuned(folder, metric, plans)
    frame = gradients_of(model, SHAPES[task][0], seeds)
    for probe in plans["probe"]:
        write_parquet(folder / "probe" / f"{probe}.parquet", frame, plans["probe"][probe])
    for explainer in plans["explain"]:
        write_explained(folder / "explain", explainer, task, model, seeds, plans["explain"])


def answers_of(metric: str, value: float) -> pd.DataFrame:
    """400 answers that come to `value`: so many of them right, or each equally far off."""
    sequence = np.arange(400)
    if metric == "accuracy":
        columns = {"target": 3, "prediction": np.where(sequence < round(400 * value), 3, 5)}
    else:
        columns = {"target": 1.0, "prediction": 1 + np.sqrt(value)}
    return pd.DataFrame({"sequence": sequence, **columns})


def write_tuned(folder: Path, metric: str, plans: dict) -> None:
    """Three trials: the second is best, the last diverged."""
    trials = [
        {"values": {"recipe.optimizer.lr": rate}, "score": score, "failed": failed}
        | {"parameters": 1000, "steps": 50, "pruned": False, "scores": [score] * (not failed)}
        for rate, score, failed in ((0.001, 0.5, ""), (0.01, 0.25, ""), (1.0, None, "no number"))
    ]
    if metric == "accuracy":
        trials[0]["score"] = 0.125
    found = {"plans": plans["tune"], "metric": metric, "seeds": [10_000], "trials": trials}
    found["best"] = 1
    write_json(folder / "tune.json", {**found, "chosen": trials[1]["values"]})


def history_of(metric: str, last: float, seed: int) -> pd.DataFrame:
    steps = np.arange(0, 1001, 50)
    start = 0.5 if metric == "mse" else 0.1
    value = last + (start - last) * np.exp(-steps / (150 + 40 * seed))
    validation = pd.DataFrame(
        {"split": "validation", "metric": metric, "step": steps, "value": value}
    )
    loss = pd.DataFrame({"split": "train", "metric": "loss", "step": steps, "value": 1.5 - value})
    both = pd.concat([validation, loss.assign(value=np.exp(-steps / 300))])
    return both.assign(seed=seed)[["seed", "step", "split", "metric", "value"]]


def gradients_of(model: str, length: int, seeds: tuple[int, ...]) -> pd.DataFrame:
    fade = {"rnn": -0.35, "lstm": -0.06, "gru": -0.04, "attention": -0.001, "transformer": -0.002}
    states = ["hidden/0", "hidden/1"] + (["cell/0", "cell/1"] if model == "lstm" else [])
    distance = np.arange(length)
    frames = []
    for seed in seeds:
        for stage, factor in (("initial", 2.0), ("trained", 1.0)):
            for state in states:
                middle = fade[model] * factor * distance - 3 - 0.2 * seed - state.startswith("cell")
                frame = pd.DataFrame({"distance": distance, "log_norm": middle, "vanished": 0.0})
                spread = {"low": middle - 0.7, "high": middle + 0.7, "stage": stage, "state": state}
                frames.append(frame.assign(seed=seed, quantity="gradient", **spread))
            if model != "transformer":
                own = frames[-1].assign(quantity="jacobian", state="state")
                frames.append(own.assign(log_norm=fade[model] * factor * distance))
    return pd.concat(frames, ignore_index=True)


def write_explained(
    folder: Path, explainer: str, task: str, model: str, seeds: tuple[int, ...], plans: dict
) -> None:
    path, scores = folder / f"{explainer}.npz", folder / f"{explainer}.scores.parquet"
    if explainer == "attention" and model not in ("attention", "transformer"):
        reason = f"{model} has no attention weights"
        write_npz(path, {"seeds": list(seeds), "reason": reason}, plans[explainer])
        write_parquet(scores, pd.DataFrame({"seed": seeds, "reason": reason}), plans[explainer])
        return
    generator = np.random.default_rng(EXPLAINERS.index(explainer) + 10 * MODELS.index(model))
    (length, features), count = SHAPES[task], 4
    inputs = generator.random((count, length, features)).astype(np.float32)
    arrays = {"target": np.arange(count), "prediction": np.tile(np.arange(count), (len(seeds), 1))}
    if task == "adding":
        inputs[..., 1] = 0
        inputs[:, [7, 31], 1] = 1
        arrays = {"target": np.full(count, 1.163), "prediction": np.full((len(seeds), count), 1.02)}
        arrays["evidence"] = inputs[..., 1] > 0
    values = generator.normal(size=(len(seeds), count, length, features)) * 0.2 + inputs * 0.5
    arrays |= {"inputs": inputs, "values": values.astype(np.float32), "reason": ""}
    arrays |= {"lengths": np.full(count, length), "seeds": list(seeds)}
    rows = [(seed, "deletion", 0.3 + 0.01 * seed, 0.12) for seed in seeds]
    if task == "adding":
        best = {"occlusion": 0.93, "integrated_gradients": 0.88, "attention": 0.49}[explainer]
        rows += [(seed, "evidence_auc", best + 0.01 * seed, 0.5) for seed in seeds]
        arrays["is_right"] = np.ones((len(seeds), count), dtype=bool)
    for score in ("deletion", "evidence_auc"):  # the same for each sequence
        if means := [row[2] for row in rows if row[1] == score]:
            arrays[score] = np.repeat(np.array(means)[:, None], count, axis=1)
    write_npz(path, arrays, plans[explainer])
    frame = pd.DataFrame(rows, columns=["seed", "score", "value", "chance"])
    controls = {"position": 0.2, "magnitude": 0.1, "untrained": 0.2, "oracle": 1.0, "share": 1.0}
    if task == "adding":
        controls["magnitude"] = 0.95  # the marker alone finds the evidence
    frame = frame.assign(**controls)
    write_parquet(scores, frame, plans[explainer])


def lose_seed(cell: Path, seed: int, reason: str) -> None:
    """A trained cell as if one of its seeds had diverged."""
    metrics = read_json(cell / "metrics.json")
    del metrics["seeds"][str(seed)]
    write_json(cell / "metrics.json", {**metrics, "failed": {str(seed): reason}})
    for path in [cell / "history.parquet", cell / "predictions.parquet", *cell.glob("*/*.parquet")]:
        frame = read_parquet(path)
        write_parquet(path, frame[frame["seed"] != seed], plans_of(path))


def change_plan(plan: Path, stage: str) -> Path:
    """The same study as a plan of another stage, in that stage's folder."""
    document = read_json(plan) | {"stage": stage}
    path = plan.parents[1] / stage / f"{digest(str(document))}.yaml"
    write_json(path, document)
    return path
