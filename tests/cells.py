"""Small tasks, and cells as training leaves them, for the stages that read one."""

from pathlib import Path

import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.models.network import build_network
from lookback.storage.atomic import write_json, write_text
from tests.shipped import model_config

PLANS = {"prepare": "a" * 16, "train": "b" * 16}
INITIALISATION = {"recurrent": "orthogonal", "input": "xavier_uniform", "forget_bias": 1.0}
GRU = model_config("gru.GRU", hidden_size=6, embedding_size=4)
MARKED = {"_target_": "tests.cells.Marked", "kind": "value"}
TOKENS = {"_target_": "tests.cells.Tokens"}


class Marked(Task):
    """What do the two marked values add up to, or is it over 1? Asked twice, at an odd length each.

    value   .31  .72  .05  .90  .44  |
    marker   0    1    0    0    1   |        asked at step 2 and at the last; evidence 1, 4
    """

    length = 7

    def __init__(self, kind: str, sequences: int = 9):
        self.kind, self.sequences = kind, sequences

    def facts(self) -> Facts:
        return Facts(
            kind=self.kind,
            tokens=False,
            features=2,
            length=self.length,
            outputs=2 if self.kind == "class" else 1,
            metric="accuracy" if self.kind == "class" else "mse",
            baseline=0.0,
            baseline_name="none",
            sizes=dict.fromkeys(("train", "validation", "test"), self.sequences),
        )

    def dataset(self, split: Split) -> SequenceDataset:
        generator = torch.Generator().manual_seed(len(split))
        lengths = torch.randint(4, self.length + 1, (self.sequences,), generator=generator)
        inputs = torch.rand(self.sequences, self.length, 2, generator=generator)
        inputs[..., 1] = 0
        inputs[:, [1, 3], 1] = 1
        inputs[torch.arange(self.length) >= lengths[:, None]] = torch.nan
        total = inputs[:, [1, 3], 0].sum(1)
        target = (total > 1).long().view(-1, 1) if self.kind == "class" else total.view(-1, 1, 1)
        return SequenceDataset(
            inputs=inputs,
            lengths=lengths,
            query=torch.stack([torch.full_like(lengths, 2), lengths - 1], 1),
            target=torch.cat([torch.zeros_like(target), target], 1),
            evidence=lambda shown: (shown[..., 1] == 1).unsqueeze(1).repeat(1, 2, 1),
        )


class Tokens(Task):
    """Which of five tokens came first?"""

    def facts(self) -> Facts:
        sizes = dict.fromkeys(("train", "validation", "test"), 9)
        return Facts("class", True, 5, 6, 5, "accuracy", 0.2, "none", sizes)

    def dataset(self, split: Split) -> SequenceDataset:
        tokens = torch.randint(5, (9, 6), generator=torch.Generator().manual_seed(len(split)))
        lengths = torch.full((9,), 6)
        return SequenceDataset(tokens, lengths, lengths.unsqueeze(1) - 1, tokens[:, :1])


def write_cell(root: Path, task: dict, model: dict, seeds: tuple[int, ...] = (0, 1)) -> Path:
    """A cell of networks with weights from another seed, as if trained; gives its folder."""
    cell = root / "study" / "task" / "model"
    data = instantiate(task)
    facts = data.facts()
    config = {"plans": PLANS, "task": task, "model": model}
    config["recipe"] = {"initialisation": INITIALISATION}
    digests = {split: digest_of(data.dataset(split)) for split in SPLITS}
    write_json(cell.parent / "task.json", {**facts.to_dict(), "digest": digests})
    write_text(cell / "config.yaml", yaml.safe_dump(config))
    write_json(cell / "metrics.json", {"seeds": {str(seed): {} for seed in seeds}})
    (cell / "checkpoints").mkdir()
    for seed in seeds:
        network = build_network(model, INITIALISATION, facts, seed=seed + 100)
        torch.save(network.state_dict(), cell / "checkpoints" / f"seed={seed}.ckpt")
    return cell


def write_plan(root: Path, stage: str, name: str, config: dict) -> Path:
    """A plan file of a stage that follows training."""
    path = root / "plan" / f"{name[0] * 16}.yaml"
    write_json(path, {"stage": stage, name: config})
    return path


def padded(lengths: Tensor, time: int, features: int, seed: int = 0) -> Tensor:
    """Random inputs (B, T, F) in float64, zero past each length."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(lengths), time, features, generator=generator, dtype=torch.float64)
    return inputs * (torch.arange(time) < lengths[:, None]).unsqueeze(-1)
