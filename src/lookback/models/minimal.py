"""The base class of minGRU and minLSTM [feng2024], whose gates read only the input.

h_t = a_t ⊙ h_{t-1} + b_t,  h_{-1} = 0        `cell` computes a_t and b_t from W x_t + b
g(x) = x + 0.5 if x ≥ 0, σ(x) if x < 0        for candidates, so that h is positive

Because the gates read only the input, all steps can be computed in parallel. The function g is from
appendix B of [feng2024]. The scan of [feng2024] computes with logarithms. Such a scan loses
precision in long sums, and is slow on a CPU (scan.py gives measurements). Our scan is numerically
stable without logarithms, because 0 < a_t < 1. The tests compare our recurrence with the code
listing in [feng2024].

Layers are stacked without residual connections, as in the models RNN, LSTM and GRU. The sequential
code in [feng2024] receives h_{-1} as an argument, but h_{-1} is zero in all models of lookback.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.errors import NotApplicable
from lookback.models.base import Initialisation, RecurrentEncoder, Trace, at_queries
from lookback.models.scan import scan, zero_past
from lookback.models.sizes import require_dropout
from lookback.models.weights import fill_linear
from lookback.runtime.settings import require_positive

# a_t and b_t of the recurrence, and the values of the gates by name, each of shape (…, H)
CellValues = tuple[Tensor, Tensor, dict[str, Tensor]]


class MinimalModel(RecurrentEncoder):
    """A stack of layers, which all use the equations of `cell`.

    The states of all layers form one tensor (B, S) with S = layers · H, in the order of the layers.
    A bidirectional layer also runs from each sequence's last step to its first. The output of a
    bidirectional layer concatenates the states of both directions, so `output_size` is 2 H. In a
    trace, the states and gates of the backward direction have names such as «hidden_reverse/l», and
    index t holds their values at time step t.
    """

    gates: ClassVar[tuple[str, ...]]  # the gate names, in the order of the gates in W x + b

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        require_positive("model", hidden_size=hidden_size, layers=layers)
        require_dropout(dropout, between=layers)
        self.hidden_size = hidden_size
        self.layers = layers
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.state_size = layers * hidden_size
        self.output_size = (1 + bidirectional) * hidden_size
        widths = [features] + [self.output_size] * (layers - 1)
        blocks = len(self.gates) * hidden_size
        self.from_input = nn.ModuleList(nn.Linear(width, blocks) for width in widths)
        self.from_input_reverse = nn.ModuleList(
            nn.Linear(width, blocks) for width in widths if bidirectional
        )

    @abstractmethod
    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> CellValues:
        """a, b and the gates, computed from the blocks of W x + b in the order of `gates`."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return next(self.parameters()).new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) and the next state (B, S), computed for one step by the equations.

        Raises NotApplicable if the model is bidirectional.
        """
        if self.bidirectional:
            raise NotApplicable(f"a bidirectional {type(self).__name__} has no single step")
        following = list[Tensor]()
        for layer, h in enumerate(state.chunk(self.layers, dim=1)):
            a, b, _ = self._cell_values(self.from_input[layer], input)
            following.append(a * h + b)
            input = self._between_layers(following[-1], layer)
        return input, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's state at every step, computed by a parallel scan."""
        for layer in range(self.layers):
            hidden = list[Tensor]()
            for suffix, linear in self._directions(layer):
                a, b, _ = self._cell_values(linear, inputs)
                if suffix:
                    b = zero_past(b, lengths)
                hidden.append(scan(a, b, from_end=bool(suffix)))
            inputs = self._between_layers(_concatenated(hidden), layer)
        return inputs

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features of `forward`, computed step by step, and every layer's states and gates."""
        states, gates = dict[str, Tensor](), dict[str, Tensor]()
        path = dict[str, Sequence[Tensor]]()
        with torch.set_grad_enabled(differentiable):
            for layer in range(self.layers):
                hidden = list[Tensor]()
                for suffix, linear in self._directions(layer):
                    a, b, new_gates = self._cell_values(linear, inputs)
                    steps = _one_by_one(a, zero_past(b, lengths) if suffix else b, bool(suffix))
                    hidden.append(torch.stack(steps, dim=1))
                    states[f"hidden{suffix}/{layer}"] = hidden[-1]
                    path[f"hidden{suffix}/{layer}"] = steps
                    gates |= {f"{gate}{suffix}/{layer}": v for gate, v in new_gates.items()}
                inputs = self._between_layers(_concatenated(hidden), layer)
            return Trace(at_queries(inputs, query), states, gates, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Draw the matrices by the recipe's `input`, and set the biases to zero.

        The recipe's setting `recurrent` has no effect on a minimal model, because no matrix reads a
        state.
        """
        for linear in (*self.from_input, *self.from_input_reverse):
            assert isinstance(linear, nn.Linear)
            units = len(self.gates) if initialisation.unit == "gate" else 1
            fill_linear(linear, initialisation.input, units)

    def _cell_values(self, linear: nn.Module, inputs: Tensor) -> CellValues:
        # One product per gate makes each gate contiguous in memory, which halves the time for σ.
        assert isinstance(linear, nn.Linear)
        gate_weights = zip(
            *(t.chunk(len(self.gates)) for t in (linear.weight, linear.bias)), strict=True
        )
        blocks = (functional.linear(inputs, w, b) for w, b in gate_weights)
        # Mixed precision gives bfloat16 blocks. In bfloat16, 1 - z would round to 1 for a small z.
        return self.cell(*(block.to(linear.weight.dtype) for block in blocks))

    def _directions(self, layer: int) -> list[tuple[str, nn.Module]]:
        """For each direction, the suffix of its state names in a trace, and its input weights."""
        maps = {"": self.from_input, "_reverse": self.from_input_reverse}
        return [(suffix, layers[layer]) for suffix, layers in maps.items() if len(layers)]

    def _between_layers(self, hidden: Tensor, layer: int) -> Tensor:
        is_inner = layer < self.layers - 1
        return functional.dropout(hidden, self.dropout, self.training) if is_inner else hidden


def positive(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The function g without a branch: max(0, x) + σ(min(0, x)), which is x + 0.5 for x ≥ 0."""
    return functional.relu(x) + torch.sigmoid(x.clamp(max=0))


def _concatenated(states: list[Tensor]) -> Tensor:
    return states[0] if len(states) == 1 else torch.cat(states, dim=-1)  # cat would copy


def _one_by_one(a: Tensor, b: Tensor, from_end: bool) -> list[Tensor]:
    """The states of h_t = a_t ⊙ h_{t∓1} + b_t in the order of time, computed step by step."""
    steps = list(zip(a.unbind(1), b.unbind(1), strict=True))
    h, states = torch.zeros_like(b[:, 0]), list[Tensor]()
    for a_t, b_t in reversed(steps) if from_end else steps:
        h = a_t * h + b_t
        states.append(h)
    return states[::-1] if from_end else states
