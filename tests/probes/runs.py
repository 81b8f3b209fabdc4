"""Runs whose networks are built by hand, so that what a probe should find is known."""

from typing import Any

import torch
from torch import Tensor

from lookback.data.adding import Adding
from lookback.data.batch import SequenceDataset
from lookback.data.content import digest_of
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError
from lookback.models.base import Initialisation, SequenceModel, Trace
from lookback.models.network import Network
from lookback.training.run import Run


class Recall(Task):
    """Which of four tokens stood `lag` steps before the query? Asked at all steps; lengths vary."""

    def __init__(self, length: int, lag: int, test: int, train: int = 50, longest: int = 10**9):
        if length > longest:
            raise UserError(f"length {length} is past {longest}.")
        self.length, self.lag = length, lag
        self.sizes = {"train": train, "validation": 10, "test": test}

    def dataset(self, split: Split) -> SequenceDataset:
        generator = torch.Generator().manual_seed(len(split) + self.length)
        count, time = self.sizes[split], self.length
        inputs = torch.randint(4, (count, time), generator=generator)
        lengths = torch.randint(self.lag + 1, time + 1, (count,), generator=generator)
        lengths[0] = time
        step = torch.arange(time).expand(count, -1)
        asked = (step >= self.lag) & (step < lengths.unsqueeze(1))
        query = step.masked_fill(~asked, -1)
        target = inputs.gather(1, (step - self.lag).clamp(min=0))
        lag = torch.full_like(query, self.lag).masked_fill(~asked, -1)
        return SequenceDataset(inputs, lengths, query, target, lag)

    def facts(self) -> Facts:
        return Facts("class", True, 4, self.length, 4, "accuracy", 0.25, "any", dict(self.sizes))


class Reads(SequenceModel):
    """Features are the inputs `back` steps before each query, up to `reach` such steps."""

    def __init__(self, width: int, back: int, reach: int = 10**9):
        super().__init__()
        self.output_size, self.back, self.reach = width, back, reach

    def forward(self, inputs: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
        where = (query - self.back).clamp(min=0)
        found = inputs.gather(1, where.unsqueeze(-1).expand(-1, -1, inputs.shape[-1]))
        return found * (query < self.reach).unsqueeze(-1)

    def trace(self, inputs: Tensor, lengths: Tensor, query: Tensor, **_: Any) -> Trace:
        return Trace(self(inputs, lengths, query), {})

    def initialise(self, initialisation: Initialisation) -> None:
        """Nothing is drawn."""


def run_of(task: dict[str, Any], network: Network) -> Run:
    """A run of `network` on the task of a config."""
    made: Task = {"Recall": Recall, "Adding": Adding}[task["_target_"].rpartition(".")[2]](
        **{name: value for name, value in task.items() if name != "_target_"}
    )
    digests = {split: digest_of(made.dataset(split)) for split in SPLITS}
    return Run(0, {}, {"task": task}, made.facts(), network.eval(), digests)


def recall(**settings: Any) -> dict[str, Any]:
    """The config of a `Recall`."""
    return {"_target_": f"{__name__}.Recall", **settings}


def reading(back: int, **more: int) -> Network:
    """Answers with the token `back` steps before the query."""
    embedding = torch.nn.Embedding.from_pretrained(torch.eye(4))
    network = Network(Reads(4, back, **more), 4, embedding)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(4))
        network.head.bias.zero_()
    return network
