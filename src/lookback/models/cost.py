"""What a forward pass costs: floating-point operations, counted and not estimated.

Matrix products and convolutions are counted, 2 operations a multiplication with its addition; what
is done number by number (gates, norms, softmax, a scan) is left out, as is usual.
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
    """Operations of one sequence of `facts.length` steps, with one answer at its last.

    It is what `forward` does, by the equations: a fused kernel would hide its products from the
    count, so attention is written out, and a recurrent encoder walks as in its `trace`.
    """
    counted = deepcopy(network).eval().double()  # which no fused kernel takes
    encoders = [module for module in counted.modules() if isinstance(module, RecurrentEncoder)]
    for encoder in encoders:
        setattr(encoder, "outputs", partial(_walk, encoder))  # noqa: B010
    # Shapes alone need no memory for T × T scores, but many small steps are quicker done in truth.
    device = "cpu" if encoders else "meta"
    counted.to(device)
    size = (1, facts.length) if facts.tokens else (1, facts.length, facts.features)
    kind = torch.long if facts.tokens else torch.float64
    inputs = torch.zeros(size, dtype=kind, device=device)
    lengths = torch.full((1,), facts.length, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        counted(inputs, lengths, lengths.unsqueeze(1) - 1)
    return float(counter.get_total_flops())


def _walk(
    encoder: RecurrentEncoder,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch time hidden"]:
    return encoder.trace_outputs(inputs, lengths).features
