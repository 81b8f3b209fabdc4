"""Computes a network's answers to a data split, their scores, and the table of predictions.

The answers are computed, scored and forgotten one batch after another, so that a long split with
many queries and classes needs no more memory than its training.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.task import Facts
from lookback.models.network import Network
from lookback.training.loss import answer_loss
from lookback.training.metrics import OtherMetrics

MOST = 512  # maximum number of sequences in a batch; larger batches are not faster
VALUES = 2**25  # maximum number of values that a batch needs at a time (128 MiB in float32)
STATES = 8  # vectors of width H that a model holds for each step at a time
LOGITS = 3  # tensors of the size of the answers that the computation of the loss holds at a time


def evaluate(network: Network, data: SequenceDataset, facts: Facts) -> "Scores":
    """The loss and the metric of a network on a data split, as in `scores_of`."""
    return _mean(_sums(answers, batch, facts) for batch, answers in answered(network, data))


def evaluate_with_predictions(
    seed: int, network: Network, data: SequenceDataset, facts: Facts
) -> tuple["Scores", pd.DataFrame]:
    """The scores of `evaluate` with its other scores, and the predictions of `predictions_of`."""
    sums, tables, first, others = list[_Sums](), list[pd.DataFrame](), 0, OtherMetrics(facts)
    for batch, answers in answered(network, data):
        sums.append(_sums(answers, batch, facts))
        others.update(answers, batch)
        tables.append(predictions_of(seed, answers, batch, facts, first=first))
        first += len(batch.lengths)
    scores = replace(_mean(sums), others=others.compute())
    return scores, pd.concat(tables, ignore_index=True)


def answered(
    network: Network, data: SequenceDataset
) -> Iterator[tuple[Batch, Float[Tensor, "batch query output"]]]:
    """Yield the batches of a data split in order, with the network's answers in eval mode.

    The number of sequences in a batch follows from the size of the network and of a sequence. If a
    batch does not fit in memory, it is halved, and so are the batches after it. At the end, the
    network returns to its previous mode (training or eval).
    """
    was_training = network.training
    network.eval()
    start, size = 0, sequences_at_once(network, data)
    try:
        while start < len(data):
            batch = data.batch(slice(start, start + size))
            try:
                with torch.no_grad():
                    answers = network(batch.inputs, batch.lengths, batch.query)
            except (MemoryError, RuntimeError) as error:
                if len(batch.lengths) == 1 or not _is_out_of_memory(error):
                    raise
                size = len(batch.lengths) // 2
                continue
            yield batch, answers
            start += len(batch.lengths)
    finally:
        network.train(was_training)


def sequences_at_once(network: Network, data: SequenceDataset) -> int:
    """The number of sequences of `data` in a batch, from the values that a sequence needs.

    Attention scores do not count, because without gradients a model computes them for a part of
    the queries at a time (lookback/models/query_parts.py).
    """
    steps, queries = data.inputs.shape[1], data.query.shape[1]
    width, outputs = network.encoder.output_size, network.head.out_features
    # The factor 2 counts the copy of the inputs in which the network sets the padding to zero.
    inputs = 2 * data.batch(slice(1)).inputs.numel()
    values = inputs + steps * STATES * width + queries * (width + LOGITS * outputs)
    return max(1, min(MOST, VALUES // values))


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. On a CPU, torch reports this as a RuntimeError."""
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_named or "can't allocate memory" in str(error)


class _Sums(NamedTuple):
    """Sums over the queries of a batch."""

    loss: float
    metric: float
    queries: int


@dataclass(frozen=True)
class Scores:
    """Loss and metric, each averaged over all queries of a data split, and other scores by name."""

    loss: float
    metric: float
    others: Mapping[str, float] = field(default_factory=dict)  # training/metrics.py lists them


def scores_of(
    answers: Float[Tensor, "batch query output"], data: Batch | SequenceDataset, facts: Facts
) -> Scores:
    """The loss and the metric of `answers`, averaged over all queries of `data`.

    In a classification task, the loss is the cross-entropy in nats, and the metric is the accuracy
    between 0 and 1. In a regression task, the loss and the metric are both the mean squared error.
    """
    return _mean([_sums(answers, data, facts)])


def _sums(
    answers: Float[Tensor, "batch query output"], data: Batch | SequenceDataset, facts: Facts
) -> _Sums:
    asked = data.query >= 0
    queries = int(asked.sum())
    if facts.metric == "mse":
        loss = answer_loss(answers, data.query, data.target, facts.kind, reduction="sum").item()
        return _Sums(loss, loss, queries)
    surprise = -log_probability(answers, data.target.masked_fill(~asked, 0))
    right = (choice(answers) == data.target) & asked
    return _Sums((surprise * asked).sum().item(), right.sum().item(), queries)


def _mean(sums: Iterable[_Sums]) -> Scores:
    loss, metric, queries = map(sum, zip(*sums, strict=True))
    return Scores(loss / queries, metric / queries)


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
    seed: int,
    answers: Float[Tensor, "batch query output"],
    data: Batch | SequenceDataset,
    facts: Facts,
    *,
    first: int = 0,
) -> pd.DataFrame:
    """Table of the predictions of one seed on the sequences in `data`, with one row per query.

    The argument `first` is the number of the first sequence in its split. The columns are seed,
    sequence, query (the time step), lag (in steps, or −1 if the task has no lag), target and
    prediction. In classification tasks, a column probability holds the probability of the predicted
    class. If a target consists of several values, each value has its own columns target and
    prediction (target_0, prediction_0, …).
    """
    asked = data.query >= 0
    sequence, _ = asked.nonzero(as_tuple=True)
    lag = torch.full_like(data.query, -1) if data.lag is None else data.lag
    columns = {"sequence": first + sequence, "query": data.query[asked], "lag": lag[asked]}
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
