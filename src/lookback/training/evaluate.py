"""What a network answers on a split, and how good that is."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.task import Facts
from lookback.models.network import Network
from lookback.training.loss import answer_loss

BATCH = 512  # sequences at once: large enough to be fast, small enough for any memory


@torch.no_grad()
def answers_of(network: Network, data: SequenceDataset) -> Float[Tensor, "batch query output"]:
    """The answers to every query of a split, in eval mode; the network's mode is given back."""
    training = network.training
    network.eval()
    parts = [data.batch(slice(start, start + BATCH)) for start in range(0, len(data), BATCH)]
    answers = torch.cat([network(part.inputs, part.lengths, part.query) for part in parts])
    network.train(training)
    return answers


@dataclass(frozen=True)
class Scores:
    """Loss and metric over all queries of a split."""

    loss: float
    metric: float


def scores_of(
    answers: Float[Tensor, "batch query output"], data: Batch | SequenceDataset, facts: Facts
) -> Scores:
    """Loss (nats or squared units), and accuracy (0 to 1) or mean squared error."""
    if facts.metric == "mse":
        loss = answer_loss(answers, data.query, data.target, facts.kind).item()
        return Scores(loss, loss)
    asked = data.query >= 0
    surprise = -log_probability(answers, data.target.masked_fill(~asked, 0))
    right = (choice(answers) == data.target) & asked
    count = asked.sum().item()
    return Scores((surprise * asked).sum().item() / count, right.sum().item() / count)


def log_probability(
    answers: Float[Tensor, "batch query output"], of: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch query"]:
    """Of a class each, in nats. On a CPU many times quicker than torch's softmax over few."""
    return answers.gather(-1, of.unsqueeze(-1)).squeeze(-1) - answers.logsumexp(-1)


def choice(answers: Float[Tensor, "batch query output"]) -> Int[Tensor, "batch query"]:
    """The class answered."""
    return answers.argmax(dim=-1)


def predictions_of(
    seed: int, answers: Float[Tensor, "batch query output"], data: SequenceDataset, facts: Facts
) -> pd.DataFrame:
    """One row a query of a split: where it was asked, what was answered, what was right."""
    asked = data.query >= 0
    sequence, _ = asked.nonzero(as_tuple=True)
    lag = torch.full_like(data.query, -1) if data.lag is None else data.lag
    columns = {"sequence": sequence, "query": data.query[asked], "lag": lag[asked]}
    if facts.kind == "class":
        chosen = choice(answers)
        probability = log_probability(answers, chosen).exp()
        columns |= {"target": data.target[asked], "prediction": chosen[asked]}
        columns["probability"] = probability[asked]
    else:
        for value in range(facts.outputs):
            end = f"_{value}" if facts.outputs > 1 else ""
            columns |= {f"target{end}": data.target[asked][:, value]}
            columns |= {f"prediction{end}": answers[asked][:, value]}
    frame = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
    frame.insert(0, "seed", seed)
    return frame
