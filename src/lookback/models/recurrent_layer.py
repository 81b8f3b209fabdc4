"""One direction of a recurrent layer: its products, with layer norm and recurrent dropout.

LN(a; α) = α ⊙ (a - mean(a)) / √(var(a) + ε)       layer norm without a bias [ba2016]

An RNN normalises the sum: h_t = f(LN(W_x x_t + W_h h_{t-1}; α) + b_x + b_h). An LSTM and a GRU
normalise both products, LN(W_x x_t; α_x) + b_x and LN(W_h h_{t-1}; α_h) + b_h. A GRU normalises the
blocks of both gates apart from the block of the candidate. An LSTM also normalises the cell that it
reads: h_t = o_t ⊙ tanh(LN(c_t; α_c) + b_c).

Recurrent dropout replaces h_{t-1} in the products W_h h_{t-1} by d ⊙ h_{t-1}. The mask d is drawn
once per sequence, and is the same at all steps [gal2016]. The direct path of a state, such as
f_t ⊙ c_{t-1}, has no dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class BlockNorm(nn.Module):
    """Layer norm of consecutive blocks of a vector, each by itself, with one gain per number."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.gain = nn.Parameter(torch.ones(sum(sizes)))

    def forward(
        self, values: Float[Tensor, "*shape part"], rows: slice = slice(None)
    ) -> Float[Tensor, "*shape part"]:
        """The normalised blocks in `values`, which are the `rows` of the whole vector."""
        first, last, _ = rows.indices(len(self.gain))
        normed, start = list[Tensor](), 0
        for size in self.sizes:
            if first <= start < last:
                block = values[..., start - first : start - first + size]
                normed.append(
                    functional.layer_norm(block, (size,), self.gain[start : start + size])
                )
            start += size
        return normed[0] if len(normed) == 1 else torch.cat(normed, dim=-1)


@dataclass(frozen=True)
class Layer:
    """The weights of one direction of a layer, and the products that its equations use.

    `norms` is empty without layer norm. Its keys are "input", "state", "cell" and "sum".
    """

    w_x: Float[Tensor, "blocks feature"]
    w_h: Float[Tensor, "blocks hidden"]
    b_x: Float[Tensor, " blocks"]
    b_h: Float[Tensor, " blocks"]
    norms: nn.ModuleDict
    mask: Float[Tensor, "batch hidden"] | None = None  # of recurrent dropout

    def from_input(self, inputs: Float[Tensor, "*shape feature"]) -> Float[Tensor, "*shape blocks"]:
        """W_x x + b_x, or LN(W_x x) + b_x. Without b_x if the layer normalises the sum."""
        # Mixed precision gives a bfloat16 product. The sum in `cell` would then be bfloat16, and a
        # state that changes by less than 1/256 of its value at each step would not change at all.
        if not self.norms:
            return functional.linear(inputs, self.w_x, self.b_x).to(self.w_x.dtype)
        product = functional.linear(inputs, self.w_x).to(self.w_x.dtype)
        return product if "sum" in self.norms else self.norms["input"](product) + self.b_x

    def from_state(
        self, h: Float[Tensor, "batch hidden"], rows: slice = slice(None)
    ) -> Float[Tensor, "batch blocks"]:
        """W_h h + b_h, or LN(W_h h) + b_h, for some rows of W_h."""
        if "state" not in self.norms:
            return functional.linear(self._dropped(h), self.w_h[rows], self.b_h[rows])
        # Layer norm enlarges the rounding errors of a small product, so mixed precision is off.
        with torch.autocast(h.device.type, enabled=False):
            product = functional.linear(self._dropped(h), self.w_h[rows])
            normed: Tensor = self.norms["state"](product, rows)
        return normed + self.b_h[rows]

    def summed(
        self, from_input: Float[Tensor, "batch hidden"], h: Float[Tensor, "batch hidden"]
    ) -> Float[Tensor, "batch hidden"]:
        """W_x x + b_x + W_h h + b_h, or LN(W_x x + W_h h) + b_x + b_h, from W_x x."""
        if "sum" not in self.norms:
            return from_input + self.from_state(h)
        with torch.autocast(h.device.type, enabled=False):
            normed: Tensor = self.norms["sum"](
                from_input + functional.linear(self._dropped(h), self.w_h)
            )
        return normed + self.b_x + self.b_h

    def read(self, c: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch hidden"]:
        """The cell as the hidden state reads it: c, or LN(c) + b_c."""
        read: Tensor = self.norms["cell"](c) if "cell" in self.norms else c
        return read

    def _dropped(self, h: Tensor) -> Tensor:
        return h if self.mask is None else self.mask * h
