"""Runs a model on the first sequences of a data set, in batches that fit in memory.

Long sequences run in smaller batches.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network

STEPS = 2**18  # Maximum of sequences × time steps in one batch.
SQUARES = 2**27  # Maximum size of the attention masks of a batch: sequences × (time steps)².
# Maximum of sequences × queries × time steps that an attention model processes at once.
# Additive attention stores one vector for each combination of sequence, query and time step.
PAIRS = 2**21
MIN_SEQUENCES = 16  # Minimum number of sequences, because a mean over fewer is too noisy.


def sequences_within(steps: int, time: int, most: int) -> int:
    """Number of sequences to measure, so that they have about `steps` time steps in total.

    The argument `time` is the number of time steps per sequence. The result is never above `most`.
    The result is at least MIN_SEQUENCES, unless `most` is smaller than MIN_SEQUENCES. For example,
    `steps` = 65,536 and `time` = 1,024 give 64 sequences, if `most` is at least 64.
    """
    return min(most, max(MIN_SEQUENCES, steps // time))


def batches(network: Network, data: SequenceDataset, sequences: int) -> Iterator[Batch]:
    """Yield the first `sequences` sequences of `data`, in batches as large as the memory allows."""
    time, end = data.inputs.shape[1], min(sequences, len(data))
    size = STEPS // time
    if not isinstance(network.encoder, RecurrentEncoder):
        size = min(size, SQUARES // time**2)
    for start in range(0, end, size := max(1, size)):
        yield data.batch(slice(start, min(start + size, end)))


@torch.no_grad()
def answers_to(network: Network, batch: Batch) -> Float[Tensor, "batch query output"]:
    """Answers of the network to all queries of a batch, computed without gradients.

    If the encoder is not recurrent, the queries are answered in several parts to limit the memory.
    """
    answers = [network(batch.inputs, batch.lengths, part) for part in query_parts(network, batch)]
    return torch.cat(answers, dim=1)


def query_parts(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    """The query steps of a batch (shape B × Q), split along Q into parts that fit in memory.

    For a recurrent encoder, all queries are in one part.
    """
    if isinstance(network.encoder, RecurrentEncoder):
        return (batch.query,)
    size = max(1, PAIRS // (len(batch.query) * batch.inputs.shape[1]))
    return torch.split(batch.query, size, dim=1)
