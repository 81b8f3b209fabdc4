"""The gradients of a layer, computed so that torch can differentiate them again.

The kernels have no second derivative. If `create_graph=True` asks for the graph of a gradient, the
layer runs once more with torch's own function, whose operations torch can differentiate any number
of times.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lookback.kernels.kernel import Kernel


def differentiable_gradients(
    kernel: Kernel,
    tensors: Sequence[Tensor],
    lengths: Int[Tensor, " batch"],
    grad: Float[Tensor, "batch time hidden"],
    needed: Sequence[bool],
) -> Iterator[Tensor | None]:
    """The gradients of the inputs and of the weights, as parts of an autograd graph.

    `tensors` holds the inputs, the weights W_x, W_h, b_x and b_h, and the state that the layer
    starts with, if there is one. `grad` is the gradient of the layer's outputs. A gradient is None
    if `needed` is false for its tensor.
    """
    # A view of each tensor has a gradient of its own, even if one tensor serves as two weights.
    inputs, *weights = views = [tensor.view_as(tensor) for tensor in tensors[:5]]
    with torch.autocast("cpu", enabled=False):  # the kernels compute in float32 under autocast
        outputs = _outputs(kernel, inputs, weights, tensors[5:], lengths)
        wanted = [view for view, need in zip(views, needed, strict=True) if need]
        gradients = iter(torch.autograd.grad(outputs, wanted, grad, create_graph=True))
    return (next(gradients) if need else None for need in needed)


def _outputs(
    kernel: Kernel,
    inputs: Float[Tensor, "batch time feature"],
    weights: Sequence[Tensor],
    state: Sequence[Tensor],
    lengths: Int[Tensor, " batch"],
) -> Float[Tensor, "batch time hidden"]:
    batch, steps, _ = inputs.shape
    # A packed sequence has at least one step. The mask below takes the step away again.
    packed = pack_padded_sequence(
        inputs, lengths.clamp(1, steps), batch_first=True, enforce_sorted=False
    )
    assert packed.sorted_indices is not None
    if not state:
        state = [inputs.new_zeros(batch, weights[1].shape[1])] * (1 + kernel.keeps_cell)
    start = [part.index_select(0, packed.sorted_indices).unsqueeze(0) for part in state]
    hidden = kernel.by_torch(
        packed.data,
        packed.batch_sizes,
        start if kernel.keeps_cell else start[0],
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=False,
        bidirectional=False,
    )[0]
    outputs, _ = pad_packed_sequence(
        PackedSequence(hidden, *packed[1:]), batch_first=True, total_length=steps
    )
    ended = torch.arange(steps) >= lengths.unsqueeze(1)
    return outputs.masked_fill(ended.unsqueeze(-1), 0.0)
