"""What recurrent models share: fast kernels, and the same network one step at a time.

Layer l at step t:  state_t = cell(W_x x_t + b_x, state_{t-1}), with W_h and b_h of the layer,
where x_t is the input, or h_t of the layer below, and every state starts at zero. A model writes
`cell`, the equations of its paper; torch's module of the same equations holds the weights, and
runs where our own kernels (lookback/kernels/) do not apply: on a GPU it is cuDNN's.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_map

from lookback.errors import NotApplicable, UserError
from lookback.kernels.kernel import Kernel
from lookback.kernels.layer import applies, open_layer, run_layer
from lookback.models.base import (
    Initialisation,
    Input,
    Recurrent,
    RecurrentEncoder,
    Trace,
    at_queries,
    reversed_within,
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
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


class RecurrentModel(RecurrentEncoder):
    """Layers of one cell, from the first step to the last; H = `output_size`.

    The whole state is one flat (B, S), S = layers · parts · H: layer after layer, and in a layer
    part after part, so [h; c] of layer 0, then [h; c] of layer 1, for an LSTM.

    `bidirectional`: each layer also reads from each sequence's own end to its start, and gives
    [h forward; h backward], H = 2 · `hidden_size`; the names of what it opens end in «_reverse».
    """

    parts: ClassVar[tuple[str, ...]] = ("hidden",)  # names of one layer's state
    fused: Kernel | None = None  # of the same equations; None: there is none

    def __init__(
        self,
        kernel: Callable[..., nn.RNNBase],
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        if dropout and layers == 1:
            raise UserError(
                f"A model of one layer has dropout {dropout}, which acts between layers only. "
                "Set the model's `dropout` to 0, or its `layers` to 2 or more."
            )
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.directions = 2 if bidirectional else 1
        self.kernel = kernel(
            features,
            hidden_size,
            layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        self.hidden_size = hidden_size
        self.output_size = self.directions * hidden_size
        self.layers = layers
        self.state_size = layers * len(self.parts) * self.output_size

    @property
    def truncates(self) -> bool:  # type: ignore[override]
        """Whether `outputs` heeds `truncate`: in one direction, by a kernel that takes a state."""
        return self.fused is not None and not self.bidirectional

    @abstractmethod
    def cell(
        self,
        from_input: Float[Tensor, "batch blocks"],
        state: Parts,
        w_h: Float[Tensor, "blocks hidden"],
        b_h: Float[Tensor, " blocks"],
    ) -> tuple[Parts, Gates]:
        """One layer's next state and its gates, from W_x x + b_x, its state, W_h and b_h."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return self.kernel.all_weights[0][0].new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) of one step and the next state (B, S), by the equations."""
        if self.bidirectional:
            raise NotApplicable("a model of two directions has no step")
        parts = state.chunk(self.layers * len(self.parts), dim=1)
        width, following = len(self.parts), list[Tensor]()
        for layer, (w_x, w_h, b_x, b_h) in enumerate(self.kernel.all_weights):
            mine = parts[layer * width : (layer + 1) * width]
            mine, _ = self.cell(functional.linear(input, w_x, b_x), mine, w_h, b_h)
            following += mine
            input = self._between_layers(mine[0], layer)
        return input, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's hidden state at every step, by the fastest way there is.

        No step sees a later one of its direction, so forwards padding needs no packing.
        """
        if self.fused is None:
            gradients = torch.is_grad_enabled()
            trace = self.trace(inputs, lengths, lengths[:, None] - 1, differentiable=gradients)
            return self._joined(trace.states, self.layers - 1)
        if not applies(inputs, self._weights(0)[0]):
            return self._by_torch(inputs, lengths)
        for layer in range(self.layers):
            weights = self._weights(layer)
            found = [self._cut(partial(self._fused, weights[0]), inputs)]
            if self.bidirectional:
                back = self._cut(partial(self._fused, weights[1]), reversed_within(inputs, lengths))
                found.append(reversed_within(back, lengths))
            inputs = self._between_layers(_side_by_side(found), layer)
        return inputs

    @property
    def _truncates_now(self) -> bool:
        return self.truncate is not None and self.training

    def _fused(self, weights: Any, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        assert self.fused is not None
        return run_layer(self.fused, inputs, weights, state or (), carries=self._truncates_now)

    def _cut(self, kernel: Callable[..., tuple[Tensor, Any]], inputs: Tensor) -> Tensor:
        """The outputs of a kernel in one direction, its state cut where training asks for it."""
        steps = self.truncate if self._truncates_now else None
        return truncated(kernel, inputs, steps or inputs.shape[1])

    def _by_torch(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if not self.bidirectional:
            return self._cut(self.kernel, inputs)
        # Backwards starts at each sequence's end, which torch reads on the host.
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(
            self.kernel(packed)[0], batch_first=True, total_length=inputs.shape[1]
        )
        return padded

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same opened up: states and gates by layer; past a length they mean nothing.

        By the equations where it is differentiable: then the states lie on the path to the loss.
        """
        states, gates = dict[str, Tensor](), dict[str, Tensor]()
        path = dict[str, Sequence[Tensor]]()
        by_kernel = not differentiable and self.fused is not None
        by_kernel = by_kernel and applies(inputs, self._weights(0)[0])
        with torch.set_grad_enabled(differentiable):
            for layer in range(self.layers):
                for back in range(self.directions):
                    end = f"{'_reverse' if back else ''}/{layer}"
                    if by_kernel:
                        found, opened = self._opened(inputs, lengths, layer, back)
                    else:
                        found, opened, steps = self._unrolled(inputs, lengths, layer, back)
                        path |= {name + end: it for name, it in steps.items()}
                    states |= {name + end: it for name, it in found.items()}
                    gates |= {name + end: it for name, it in opened.items()}
                inputs = self._between_layers(self._joined(states, layer), layer)
            return Trace(at_queries(inputs, query), states, gates, path=path)

    def _opened(
        self, inputs: Tensor, lengths: Tensor, layer: int, back: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """States and gates of one direction of a layer, by the fused kernel."""
        assert self.fused is not None
        weights = self._weights(layer)[back]
        if not back:
            return open_layer(self.fused, inputs, weights)
        states, gates = open_layer(self.fused, reversed_within(inputs, lengths), weights)
        return (
            {name: reversed_within(it, lengths) for name, it in states.items()},
            {name: reversed_within(it, lengths) for name, it in gates.items()},
        )

    def _unrolled(
        self, inputs: Tensor, lengths: Tensor, layer: int, back: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, list[Tensor]]]:
        """States and gates of one direction of a layer by the equations, and the states' steps.

        Backwards the state stays zero until a sequence's own last step.
        """
        w_x, w_h, b_x, b_h = self._weights(layer)[back]
        found: dict[str, list[Tensor]] = {}
        zero = inputs.new_zeros(len(inputs), self.hidden_size)
        state: Parts = (zero,) * len(self.parts)
        all_steps = list(enumerate(functional.linear(inputs, w_x, b_x).unbind(dim=1)))
        for t, from_input in reversed(all_steps) if back else all_steps:
            state, gates = self.cell(from_input, state, w_h, b_h)
            if back:
                there = (t < lengths).unsqueeze(1)
                state = tuple(torch.where(there, part, zero) for part in state)
            now = dict(zip(self.parts, state, strict=True)) | gates
            for name, value in now.items():
                found.setdefault(name, []).append(value)
        if back:
            found = {name: steps[::-1] for name, steps in found.items()}
        opened = {name: torch.stack(steps, dim=1) for name, steps in found.items()}
        states = {name: opened.pop(name) for name in self.parts}
        return states, opened, {name: found[name] for name in self.parts}

    def _joined(self, states: Mapping[str, Tensor], layer: int) -> Tensor:
        """A layer's output: its hidden state, of both directions where it has two."""
        ends = ("", "_reverse")[: self.directions]
        return _side_by_side([states[f"hidden{end}/{layer}"] for end in ends])

    def _weights(self, layer: int) -> list[Any]:
        """W_x, W_h, b_x and b_h of a layer, by direction."""
        first = layer * self.directions
        return list(self.kernel.all_weights[first : first + self.directions])

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
            units = len(w_h) // self.hidden_size if initialisation.unit == "gate" else 1
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
            bound = self.hidden_size**-0.5  # torch's own default
            nn.init.uniform_(block, -bound, bound)


def _side_by_side(found: Sequence[Tensor]) -> Tensor:
    return found[0] if len(found) == 1 else torch.cat(list(found), dim=-1)
