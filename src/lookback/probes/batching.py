"""Answers to a part of a split, in batches that fit the memory, however long the sequences."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network

STEPS = 2**18  # sequences × time at once
SQUARES = 2**27  # sequences × time²: what a layer masks that looks from every step to every step
PAIRS = 2**21  # sequences × queries × time: additive attention keeps a vector of each
LEAST = 16  # sequences, however long: fewer say nothing


def sequences_within(steps: int, time: int, most: int) -> int:
    """How many sequences of `time` steps to take: `most`, or those that make up `steps`."""
    return min(most, max(LEAST, steps // time))


def batches(network: Network, data: SequenceDataset, sequences: int) -> Iterator[Batch]:
    """The first `sequences` of a split, as many at once as little memory allows."""
    time, end = data.inputs.shape[1], min(sequences, len(data))
    size = STEPS // time
    if not isinstance(network.encoder, RecurrentEncoder):
        size = min(size, SQUARES // time**2)
    for start in range(0, end, size := max(1, size)):
        yield data.batch(slice(start, min(start + size, end)))


@torch.no_grad()
def answers_to(network: Network, batch: Batch) -> Float[Tensor, "batch query output"]:
    """The answers to a batch; those of attention some queries at a time."""
    answers = [network(batch.inputs, batch.lengths, part) for part in query_parts(network, batch)]
    return torch.cat(answers, dim=1)


def query_parts(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    """The queries (B, Q), cut into as many parts as attention needs."""
    if isinstance(network.encoder, RecurrentEncoder):
        return (batch.query,)
    size = max(1, PAIRS // (len(batch.query) * batch.inputs.shape[1]))
    return torch.split(batch.query, size, dim=1)
