"""What recurrent models share: a fast kernel, and the same network one step at a time.

Layer l at step t:  state_t = cell(W_x x_t + b_x, W_h h_{t-1} + b_h, state_{t-1}),
where x_t is the input, or h_t of the layer below, and every state starts at zero. A model writes
`cell`, the equations of its paper; torch's kernel of the same equations holds the weights.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from lookback.errors import Mistake
from lookback.models.base import (
    Initialisation,
    Input,
    Recurrent,
    RecurrentEncoder,
    Trace,
    at_queries,
)

Parts = tuple[Tensor, ...]  # one layer's state, each part (B, H); the hidden state h comes first
Gates = dict[str, Tensor]  # by name, each (B, H)


def truncated(
    kernel: Callable[..., tuple[Tensor, Any]],
    inputs: Float[Tensor, "batch time feature"],
    steps: int,
) -> Float[Tensor, "batch time hidden"]:
    """The outputs of a kernel whose state is carried on as a constant every so many `steps`.

    Truncated back-propagation through time: Williams & Peng 1990, "An efficient gradient-based
    algorithm for on-line training of recurrent network trajectories". No value changes; no gradient
    crosses a cut.
    """
    state, outputs = None, []
    for stretch in torch.split(inputs, steps, dim=1):
        output, state = kernel(stretch, state)
        state = tree_map(Tensor.detach, state)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


class RecurrentModel(RecurrentEncoder):
    """Layers of one cell, from the first step to the last; H = `output_size`.

    The whole state is one flat (B, S), S = layers · parts · H: layer after layer, and in a layer
    part after part, so [h; c] of layer 0, then [h; c] of layer 1, for an LSTM.
    """

    parts: ClassVar[tuple[str, ...]] = ("hidden",)  # names of one layer's state
    truncates = True

    def __init__(
        self,
        kernel: Callable[..., nn.RNNBase],
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if dropout and layers == 1:
            raise Mistake(
                f"A model of one layer has dropout {dropout}, which acts between layers only. "
                "Set the model's `dropout` to 0, or its `layers` to 2 or more."
            )
        self.dropout = dropout
        self.kernel = kernel(features, hidden_size, layers, batch_first=True, dropout=dropout)
        self.output_size = hidden_size
        self.layers = layers
        self.state_size = layers * len(self.parts) * hidden_size

    @abstractmethod
    def cell(
        self,
        from_input: Float[Tensor, "batch blocks"],
        from_state: Float[Tensor, "batch blocks"],
        state: Parts,
    ) -> tuple[Parts, Gates]:
        """One layer's next state and its gates, from W_x x + b_x, W_h h + b_h and its state."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return self.kernel.all_weights[0][0].new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) of one step and the next state (B, S), by the equations."""
        parts = state.chunk(self.layers * len(self.parts), dim=1)
        width, following = len(self.parts), list[Tensor]()
        for layer, (w_x, w_h, b_x, b_h) in enumerate(self.kernel.all_weights):
            mine = parts[layer * width : (layer + 1) * width]
            from_input = functional.linear(input, w_x, b_x)
            mine, _ = self.cell(from_input, functional.linear(mine[0], w_h, b_h), mine)
            following += mine
            input = self._between_layers(mine[0], layer)
        return input, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's hidden state at every step, by the kernel.

        No step sees a later one, so padding needs no packing.
        """
        if self.truncate is not None and self.training:
            return truncated(self.kernel, inputs, self.truncate)
        outputs: Tensor = self.kernel(inputs)[0]
        return outputs

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same by the equations: states and gates by layer; past a length they mean nothing."""
        states, gates = dict[str, Tensor](), dict[str, Tensor]()
        path = dict[str, Sequence[Tensor]]()
        with torch.set_grad_enabled(differentiable):
            for layer in range(self.layers):
                through_time, opened = self._unroll(inputs, layer)
                for name, steps in through_time.items():
                    path[f"{name}/{layer}"] = steps
                    states[f"{name}/{layer}"] = torch.stack(steps, dim=1)
                for name, steps in opened.items():
                    gates[f"{name}/{layer}"] = torch.stack(steps, dim=1)
                inputs = self._between_layers(states[f"hidden/{layer}"], layer)
            return Trace(at_queries(inputs, query), states, gates, path=path)

    def _unroll(
        self, inputs: Float[Tensor, "batch time feature"], layer: int
    ) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """One layer's state and gates by name, a list of (B, H) over the steps."""
        w_x, w_h, b_x, b_h = self.kernel.all_weights[layer]
        states: dict[str, list[Tensor]] = {name: [] for name in self.parts}
        opened = dict[str, list[Tensor]]()
        state = (inputs.new_zeros(len(inputs), self.output_size),) * len(self.parts)
        for from_input in functional.linear(inputs, w_x, b_x).unbind(dim=1):
            state, gates = self.cell(from_input, functional.linear(state[0], w_h, b_h), state)
            for name, part in zip(self.parts, state, strict=True):
                states[name].append(part)
            for name, gate in gates.items():
                opened.setdefault(name, []).append(gate)
        return states, opened

    def _between_layers(self, hidden: Tensor, layer: int) -> Tensor:
        """What the next layer gets: `hidden`, with dropout while training; the last has no next."""
        is_inner = layer < self.layers - 1
        return functional.dropout(hidden, self.dropout, self.training) if is_inner else hidden

    def train(self, mode: bool = True) -> "RecurrentModel":
        """Set training or evaluation mode; dropout acts in the former alone.

        cuDNN has no backward pass in evaluation mode, so the kernel itself stays in training mode
        and its dropout is set to zero instead, which is the same function.
        """
        super().train(mode)
        self.kernel.train()
        self.kernel.dropout = self.dropout if mode else 0.0
        return self

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Draw each gate's matrix by itself, H × H of a state, H × F of an input; biases zero.

        Or, where the recipe's unit is a layer, the matrices of its gates as one.
        """
        for w_x, w_h, b_x, b_h in self.kernel.all_weights:
            units = len(w_h) // self.output_size if initialisation.unit == "gate" else 1
            for block in w_x.chunk(units):
                self._fill(block, initialisation.input)
            for block in w_h.chunk(units):
                self._fill(block, initialisation.recurrent)
            nn.init.zeros_(b_x)
            nn.init.zeros_(b_h)

    def _fill(self, block: Tensor, way: Recurrent | Input) -> None:
        if way == "orthogonal":
            nn.init.orthogonal_(block)
        elif way == "identity":
            nn.init.eye_(block)
        elif way == "xavier_uniform":
            nn.init.xavier_uniform_(block)
        elif way == "normal":
            nn.init.normal_(block, std=0.001)  # Le et al. 2015, for W_h at the identity
        else:
            bound = self.output_size**-0.5  # torch's own default
            nn.init.uniform_(block, -bound, bound)
