"""What minGRU and minLSTM share: gates that see the input alone, so that all steps run at once.

h_t = a_t ⊙ h_{t-1} + b_t,  h_{-1} = 0,  where a_t and b_t come from W x_t + b by the model's `cell`
g(x) = x + 0.5 where x ≥ 0, σ(x) where x < 0      for candidates, so that h is positive

Feng et al. 2024, "Were RNNs all we needed?"; g is of its appendix B. The paper scans in log space,
which its long sums make imprecise, and slow on a CPU (scan.py has figures); since 0 < a < 1, the
scan here needs no logarithm to be stable. The same recurrence, held against the paper's listing.

Layers are stacked plainly, as every recurrent model's here. The paper's sequential listing starts
from a given h_{-1}; here it is zero, as in every model.
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

Opened = tuple[Tensor, Tensor, dict[str, Tensor]]  # a, b, and gates by name, each (…, H)


class MinimalModel(RecurrentEncoder):
    """Layers of one cell. The whole state is one flat (B, S), S = layers · H, layer after layer.

    In two directions each layer also runs from each sequence's last step to its first, and passes
    on both states side by side: `output_size` is then 2 H. The second's states and gates are named
    «hidden_reverse/l», and so on; they lie at the steps that they belong to.
    """

    gates: ClassVar[tuple[str, ...]]  # what W x + b holds, block after block

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
    def cell(self, *blocks: Float[Tensor, "*shape hidden"]) -> Opened:
        """a, b and the gates, from the blocks of W x + b in the order of `gates`."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return next(self.parameters()).new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) of one step and the next state (B, S), by the equations.

        Raises NotApplicable in two directions.
        """
        if self.bidirectional:
            raise NotApplicable(f"a {type(self).__name__} of two directions has no single step")
        following = list[Tensor]()
        for layer, h in enumerate(state.chunk(self.layers, dim=1)):
            a, b, _ = self._open(self.from_input[layer], input)
            following.append(a * h + b)
            input = self._between_layers(following[-1], layer)
        return input, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's state at every step, by a parallel scan."""
        for layer in range(self.layers):
            found = list[Tensor]()
            for name, linear in self._directions(layer):
                a, b, _ = self._open(linear, inputs)
                if name:
                    b = zero_past(b, lengths)
                found.append(scan(a, b, from_end=bool(name)))
            inputs = self._between_layers(_side_by_side(found), layer)
        return inputs

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same one step after another: states and gates by layer."""
        states, gates = dict[str, Tensor](), dict[str, Tensor]()
        path = dict[str, Sequence[Tensor]]()
        with torch.set_grad_enabled(differentiable):
            for layer in range(self.layers):
                found = list[Tensor]()
                for name, linear in self._directions(layer):
                    a, b, opened = self._open(linear, inputs)
                    steps = _one_by_one(a, zero_past(b, lengths) if name else b, bool(name))
                    found.append(torch.stack(steps, dim=1))
                    states[f"hidden{name}/{layer}"] = found[-1]
                    path[f"hidden{name}/{layer}"] = steps
                    gates |= {f"{gate}{name}/{layer}": value for gate, value in opened.items()}
                inputs = self._between_layers(_side_by_side(found), layer)
            return Trace(at_queries(inputs, query), states, gates, path=path)

    def initialise(self, initialisation: Initialisation) -> None:
        """Each gate's matrix as `input` says, biases zero; no matrix reads a state."""
        for linear in (*self.from_input, *self.from_input_reverse):
            assert isinstance(linear, nn.Linear)
            units = len(self.gates) if initialisation.unit == "gate" else 1
            fill_linear(linear, initialisation.input, units)

    def _open(self, linear: nn.Module, inputs: Tensor) -> Opened:
        # A product a gate: each then lies in memory as one piece, which halves the time of σ.
        assert isinstance(linear, nn.Linear)
        of_gates = zip(
            *(t.chunk(len(self.gates)) for t in (linear.weight, linear.bias)), strict=True
        )
        read = (functional.linear(inputs, w, b) for w, b in of_gates)
        # In mixed precision the product alone is bfloat16, where 1 - z would be 1 for small z.
        return self.cell(*(block.to(linear.weight.dtype) for block in read))

    def _directions(self, layer: int) -> list[tuple[str, nn.Module]]:
        """What a direction's names end in, and its map of the input."""
        maps = {"": self.from_input, "_reverse": self.from_input_reverse}
        return [(name, of_layer[layer]) for name, of_layer in maps.items() if len(of_layer)]

    def _between_layers(self, hidden: Tensor, layer: int) -> Tensor:
        is_inner = layer < self.layers - 1
        return functional.dropout(hidden, self.dropout, self.training) if is_inner else hidden


def positive(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """g, without a branch: max(0, x) + σ(min(0, x)), which is x + 0.5 from 0 on."""
    return functional.relu(x) + torch.sigmoid(x.clamp(max=0))


def _side_by_side(states: list[Tensor]) -> Tensor:
    return states[0] if len(states) == 1 else torch.cat(states, dim=-1)  # one alone: no copy


def _one_by_one(a: Tensor, b: Tensor, from_end: bool) -> list[Tensor]:
    """The states of h_t = a_t ⊙ h_{t∓1} + b_t, in the order of time."""
    both = list(zip(a.unbind(1), b.unbind(1), strict=True))
    h, found = torch.zeros_like(b[:, 0]), list[Tensor]()
    for a_t, b_t in reversed(both) if from_end else both:
        h = a_t * h + b_t
        found.append(h)
    return found[::-1] if from_end else found
