"""A small study on disk as the stages leave it: real networks and tables, invented numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from lookback.data.task import Facts
from lookback.models.network import Network, build_network
from lookback.storage import run_store
from lookback.storage.atomic import digest, write_json, write_text
from lookback.storage.cell_paths import SeedPaths
from lookback.storage.journal import Journal
from lookback.storage.tables import write_parquet
from lookback.summarise import summarise
from tests.shipped import model_config

RECIPE = {
    "initialisation": {"recurrent": "orthogonal", "input": "xavier_uniform", "forget_bias": 1.0},
    "optimizer": {"lr": 0.003},
}
TASK = {"_target_": "no.such.Task", "length": 7}
FACTS = Facts(
    kind="class",
    tokens=False,
    features=3,
    length=7,
    outputs=4,
    metric="accuracy",
    baseline=0.3,
    baseline_name="any symbol of this sequence",
    other_baselines={"most frequent class": 0.25},
    sizes={"test": 10},
)
PREPARE = "a" * 16


@dataclass(frozen=True)
class Study:
    """What the study asks for; `code` stands for the code that its plans are made with."""

    models: Sequence[str] = ("rnn", "gru")
    seeds: Sequence[int] = (0, 1)
    code: str = "one"
    points: int = 3
    facts: Facts = field(default=FACTS)

    def model(self, name: str) -> dict[str, object]:
        target = {"rnn": "rnn.RNN", "gru": "gru.GRU"}[name.partition("_")[0]]
        width = 3 + int("0" + "".join(filter(str.isdigit, name)))  # gru_9: a variant of gru
        return model_config(target, hidden_size=width, embedding_size=2)

    def config(self, model: str) -> dict[str, object]:
        trainer = {"max_steps": self.points, "devices": None}
        return {"task": TASK, "model": self.model(model), "recipe": RECIPE, "trainer": trainer}

    def train_plan(self, model: str) -> Path:
        name = digest(f"{self.config(model)} {self.code}")
        path = Path(f"results/.plan/train/{name}.yaml")
        write_json(path, {"stage": "train", **self.config(model), "code": {"train": self.code}})
        return path

    def plans(self, model: str) -> dict[str, str]:
        return {"prepare": PREPARE, "train": self.train_plan(model).stem}

    def write_plan(self) -> Path:
        """The plan of `track`; prepares the task as well."""
        write_json(
            "results/tiny/marks/task.json",
            {**self.facts.to_dict(), "name": "marks", "plans": {"prepare": PREPARE}},
        )
        cells = {
            f"marks/{model}": {
                "train": self.plans(model),
                "probe": {"fading": {**self.plans(model), "probe": "f" * 16}},
                "explain": {},
            }
            for model in self.models
        }
        study = {
            "name": "tiny",
            "question": "Does it track?",
            "seeds": list(self.seeds),
            "tasks": {"marks": TASK},
            "models": {model: self.model(model) for model in self.models},
            "probes": {"fading": {}},
            "explainers": {},
        }
        path = Path(f"results/.plan/track/{digest(str(cells))}.yaml")
        write_json(path, {"stage": "track", "study": study, "cells": cells})
        return path

    def journal(self, model: str, seed: int) -> Journal:
        """The journal of a seed that begins to train."""
        runs = run_store.runs_folder(self.train_plan(model), Path("results/tiny/marks/task.json"))
        folder = run_store.seed_folder(runs, seed)
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(SeedPaths(folder).journal)

    def train(self, model: str, seeds: Sequence[int] | None = None) -> Path:
        """A cell as training leaves it."""
        cell = Path("results/tiny/marks", model)
        seeds = self.seeds if seeds is None else seeds
        for seed in seeds:
            journal = self.journal(model, seed)
            journal.event("start", 0, task="marks", model=model, seed=seed, steps=self.points)
            for step in range(self.points):
                log_step(journal, seed, step)
            journal.event("end", self.points)
            path = cell / "checkpoints" / f"seed={seed}.ckpt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self.network(model, seed).state_dict(), path)
        self._assemble(model, seeds, cell)
        return cell

    def network(self, model: str, seed: int) -> Network:
        """The network of a seed; its weights differ from those that it would start with."""
        initialisation = RECIPE["initialisation"]
        return build_network(self.model(model), initialisation, self.facts, seed=seed + 100).eval()

    def _assemble(self, model: str, seeds: Sequence[int], cell: Path) -> None:
        plans = self.plans(model)
        write_text(cell / "config.yaml", yaml.safe_dump({"plans": plans, **self.config(model)}))
        scores = np.random.default_rng(len(model)).random((len(seeds), 2))
        name = self.facts.metric
        metrics = {
            str(seed): {f"test/{name}": high, f"validation/{name}": low, "step": 2, "steps": 3}
            | {"test/macro_f1": low}
            for seed, (low, high) in zip(seeds, scores, strict=True)
        }
        heading = {"plans": plans, "metric": name, "parameters": 77}
        write_json(cell / "metrics.json", {**heading, "seeds": metrics})
        cost = {"train_seconds": 1.5, "evaluate_seconds": 0.5, "device": "cpu", "threads": 1}
        cost |= {"commit": "c0ffee", "dirty": False, "versions": {}}
        write_json(cell / "cost.json", {"plans": plans, "seeds": {str(s): cost for s in seeds}})
        history = [
            (seed, step, "train", "loss", loss_at(seed, step))
            for seed in seeds
            for step in range(self.points)
        ]
        columns = ["seed", "step", "split", "metric", "value"]
        write_parquet(cell / "history.parquet", pd.DataFrame(history, columns=columns), plans)
        answers = [(seed, sequence, 0, sequence % 2) for seed in seeds for sequence in range(4)]
        columns = ["seed", "sequence", "target", "prediction"]
        write_parquet(cell / "predictions.parquet", pd.DataFrame(answers, columns=columns), plans)
        fading = pd.DataFrame({"seed": seeds, "distance": 1, "log_norm": -0.5})
        write_parquet(cell / "probe" / "fading.parquet", fading, {**plans, "probe": "f" * 16})

    def report(self) -> None:
        """The summary, by its own stage, and figures."""
        summarise.main(self.write_plan(), Path("results/tiny/summary"))
        for name in ("overview", "marks", "marks_rnn", "marks_gru", "marks_gru_9"):
            write_text(f"results/tiny/report/figures/{name}.svg", f"<svg><!-- {name} --></svg>")


def log_step(journal: Journal, seed: int, step: int) -> None:
    journal.values("train", step, {"loss": loss_at(seed, step), "learning_rate": 0.003})
    journal.values("validation", step, {"accuracy": step / 3})


def loss_at(seed: int, step: int) -> float:
    return 1 / (3 + seed + step)


def complete(study: Study) -> Path:
    """Everything of `study`, and its plan."""
    plan = study.write_plan()
    for model in study.models:
        study.train(model)
    study.report()
    return plan
