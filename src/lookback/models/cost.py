"""Counts the floating-point operations (FLOPs) of a network's forward pass and of its training.

Only matrix products and convolutions are counted, with 2 FLOPs for each pair of a multiplication
and an addition. By convention, elementwise operations (gates, norms, softmax, a scan) are not
counted.
"""

from copy import deepcopy
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lookback.data.task import Facts
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network


def forward_flops(network: Network, facts: Facts) -> float:
    """The FLOPs of a forward pass for one sequence of `facts.length` steps and a query at its end.

    The FLOPs are counted on a copy of the network that uses no fused kernels, because PyTorch's
    counter cannot see the matrix products inside a fused kernel. Without fused kernels, attention
    is computed with plain matrix products, and a recurrent encoder runs step by step, as in its
    `trace`.
    """
    return _flops(network, facts, facts.length, queries=1, backward=False)


def training_flops(network: Network, facts: Facts) -> float:
    """The FLOPs of the forward and the backward pass for one sequence of the train split.

    The sequence has the shape in which training computes it, with all its padding steps and padding
    queries. The FLOPs are counted as in `forward_flops`. The FLOPs are a linear function of the
    number of queries. For a model with attention, they are counted for one and for two queries,
    because the attention scores of many queries may not fit in memory.
    """
    steps = facts.padded_length or facts.length
    if isinstance(network.encoder, RecurrentEncoder):
        return _flops(network, facts, steps, facts.queries, backward=True)
    one, two = (_flops(network, facts, steps, queries, backward=True) for queries in (1, 2))
    return one + (facts.queries - 1) * (two - one)


def _flops(network: Network, facts: Facts, steps: int, queries: int, *, backward: bool) -> float:
    """The FLOPs for one sequence with queries at its last step, with or without a backward pass."""
    counted = deepcopy(network).eval().double()  # no fused kernel supports float64
    encoders = [module for module in counted.modules() if isinstance(module, RecurrentEncoder)]
    for encoder in encoders:
        setattr(encoder, "outputs", partial(_outputs_by_trace, encoder))  # noqa: B010
    # On the meta device, attention scores (T × T) need no memory, because this device stores no
    # tensor values. The many small steps of a recurrent encoder are faster on the CPU.
    device = "cpu" if encoders else "meta"
    counted.to(device)
    size = (1, steps) if facts.tokens else (1, steps, facts.features)
    dtype = torch.long if facts.tokens else torch.float64
    inputs = torch.zeros(size, dtype=dtype, device=device)
    lengths = torch.full((1,), steps, device=device)
    query = (lengths - 1).expand(1, queries)
    counter = FlopCounterMode(display=False)
    with torch.set_grad_enabled(backward), sdpa_kernel(SDPBackend.MATH), counter:
        answers = counted(inputs, lengths, query)
        if backward:
            torch.autograd.backward(answers.sum())
    return float(counter.get_total_flops())


def _outputs_by_trace(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch time hidden"]:
    gradients = torch.is_grad_enabled()
    return encoder.trace_outputs(inputs, lengths, differentiable=gradients).features
