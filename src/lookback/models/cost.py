"""Counts the floating-point operations (FLOPs) of a network's forward pass.

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
    counted = deepcopy(network).eval().double()  # no fused kernel supports float64
    encoders = [module for module in counted.modules() if isinstance(module, RecurrentEncoder)]
    for encoder in encoders:
        setattr(encoder, "outputs", partial(_outputs_by_trace, encoder))  # noqa: B010
    # On the meta device, attention scores (T × T) need no memory, because this device stores no
    # tensor values. The many small steps of a recurrent encoder are faster on the CPU.
    device = "cpu" if encoders else "meta"
    counted.to(device)
    size = (1, facts.length) if facts.tokens else (1, facts.length, facts.features)
    dtype = torch.long if facts.tokens else torch.float64
    inputs = torch.zeros(size, dtype=dtype, device=device)
    lengths = torch.full((1,), facts.length, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        counted(inputs, lengths, lengths.unsqueeze(1) - 1)
    return float(counter.get_total_flops())


def _outputs_by_trace(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch time hidden"]:
    return encoder.trace_outputs(inputs, lengths).features
