"""Computes a network's answers to a data split, their scores, and the table of predictions."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.task import Facts
from lookback.models.network import Network
from lookback.training.loss import answer_loss

BATCH = 512  # number of sequences per forward pass, a compromise between speed and memory


@torch.no_grad()
def answers_of(network: Network, data: SequenceDataset) -> Float[Tensor, "batch query output"]:
    """The outputs of `network` at every query of a data split, computed in eval mode.

    After the computation, the network returns to its previous mode (training or eval).
    """
    was_training = network.training
    network.eval()
    parts = [data.batch(slice(start, start + BATCH)) for start in range(0, len(data), BATCH)]
    answers = torch.cat([network(part.inputs, part.lengths, part.query) for part in parts])
    network.train(was_training)
    return answers


@dataclass(frozen=True)
class Scores:
    """Loss and metric, each averaged over all queries of a data split."""

    loss: float
    metric: float


def scores_of(
    answers: Float[Tensor, "batch query output"], data: Batch | SequenceDataset, facts: Facts
) -> Scores:
    """The loss and the metric of `answers`, averaged over all queries of `data`.

    In a classification task, the loss is the cross-entropy in nats, and the metric is the accuracy
    between 0 and 1. In a regression task, the loss and the metric are both the mean squared error.
    """
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
    """The log-probability, in nats, that the network gives to one class (`of`) at each query.

    With few classes on a CPU, subtracting the log-sum-exp from the logit of one class is many times
    faster than torch's log_softmax.
    """
    return answers.gather(-1, of.unsqueeze(-1)).squeeze(-1) - answers.logsumexp(-1)


def choice(answers: Float[Tensor, "batch query output"]) -> Int[Tensor, "batch query"]:
    """The predicted class at each query, which is the class with the largest logit."""
    return answers.argmax(dim=-1)


def predictions_of(
    seed: int, answers: Float[Tensor, "batch query output"], data: SequenceDataset, facts: Facts
) -> pd.DataFrame:
    """Table of the predictions of one seed on a data split, with one row per query.

    The columns are seed, sequence, query (the time step), lag (in steps, or −1 if the task has no
    lag), target and prediction. In classification tasks, a column probability holds the probability
    of the predicted class. If a target consists of several values, each value has its own columns
    target and prediction (target_0, prediction_0, …).
    """
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
            suffix = f"_{value}" if facts.outputs > 1 else ""
            columns |= {f"target{suffix}": data.target[asked][:, value]}
            columns |= {f"prediction{suffix}": answers[asked][:, value]}
    frame = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
    frame.insert(0, "seed", seed)
    return frame
