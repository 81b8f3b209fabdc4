"""Layer-wise relevance propagation (LRP) through a recurrent network [arras2017] [arras2019].

Relevance starts at the explained answer, as large as the answer, and flows back to the inputs.

z_j = Σ_i w_ji a_i + b_j                                              a linear map, N inputs
R_i = Σ_j (w_ji a_i + (b_j + ε s_j) / N) R_j / (z_j + ε s_j)          s_j = 1 if z_j ≥ 0, else −1
z_j = gate_j ⊙ signal_j      the signal gets all relevance of the product, and the gate none
f(z_j)                       z_j gets all relevance of an activation function f

The sums are linear maps, too: f_t ⊙ c_{t-1} + i_t ⊙ g_t in an LSTM and z_t ⊙ h_{t-1} + (1 − z_t) ⊙
n_t in a GRU. The rules for a GRU, which the papers do not spell out, follow from the same rules.
Every input of a linear map gets an equal part of the bias and of ε, so no relevance is lost. At the
first step, the papers also give a part to the state before it. This state is zero and no input, so
the inputs of the first step get its part here. So the values of a sequence sum to the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, within
from lookback.models.base import reversed_within
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.network import Network
from lookback.models.rnn import RNN


class LRP:
    """LRP through rnn, lstm and gru, with one or two directions, and with any number of layers."""

    def __init__(self, sequences: int, epsilon: float):
        self.sequences = sequences
        self.epsilon = epsilon

    @torch.no_grad()
    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute one logit, or one value in a regression task, as in `Explainer`.

        The returned `error` is |Σ values − answer|, which is a rounding error.

        Raises NotApplicable if the model is not an rnn, lstm or gru.
        """
        encoder = model.encoder
        if not isinstance(encoder, RNN | LSTM | GRU):
            raise NotApplicable(f"LRP has no rules here for {type(encoder).__name__}")
        if encoder.norms[0]:
            raise NotApplicable(f"LRP has no rules for layer norm in {type(encoder).__name__}")
        trace = encoder.trace(batch.inputs, batch.lengths, batch.query)
        outside = ~within(batch.lengths, batch.inputs.shape[1]).unsqueeze(-1)
        known = {name: v.masked_fill(outside, 0.0) for name, v in trace.states.items()}
        known |= {name: v.masked_fill(outside, 0.0) for name, v in trace.gates.items()}

        head, feature = model.head, trace.features[:, 0]
        weight, bias = head.weight[output], head.bias[output].unsqueeze(1)
        products = feature * weight
        answers = products.sum(dim=1, keepdim=True) + bias
        even = (bias + self._signed(answers)) / feature.shape[1]
        shares = (products + even) * answers / (answers + self._signed(answers))
        relevance = shares.new_zeros(*batch.inputs.shape[:2], feature.shape[1])
        relevance[torch.arange(len(shares)), batch.query[:, 0]] = shares
        for layer in reversed(range(encoder.layers)):
            relevance = self._below(encoder, layer, known, batch, relevance)
        gap = relevance.sum(dim=(1, 2)) - answers.squeeze(1)
        return Attribution(relevance.masked_fill(outside, 0.0), gap.abs())

    def _signed(self, z: Tensor) -> Tensor:
        """ε s: the stabiliser of a denominator z + ε s."""
        return torch.where(z >= 0, self.epsilon, -self.epsilon).to(z)

    def _below(
        self,
        encoder: RNN | LSTM | GRU,
        layer: int,
        known: dict[str, Tensor],
        batch: Batch,
        relevance: Float[Tensor, "batch time hidden"],
    ) -> Float[Tensor, "batch time below"]:
        """The relevance of the inputs of a layer, from the relevance of its outputs."""
        suffixes, below = ("", "_reverse")[: encoder.directions], batch.inputs
        if layer:
            below = torch.cat([known[f"hidden{suffix}/{layer - 1}"] for suffix in suffixes], dim=-1)
        total = torch.zeros_like(below)
        parts = zip(suffixes, relevance.chunk(encoder.directions, dim=-1), strict=True)
        for direction, (suffix, part) in enumerate(parts):

            def in_order(values: Tensor, is_reversed: bool = bool(direction)) -> Tensor:
                return reversed_within(values, batch.lengths) if is_reversed else values

            end = f"{suffix}/{layer}"
            of_direction = {
                name.removesuffix(end): in_order(values)
                for name, values in known.items()
                if name.endswith(end) and "_" not in name.removesuffix(end)
            }
            weights = encoder.kernel.all_weights[layer * encoder.directions + direction]
            steps = Direction.of(encoder, weights, of_direction, in_order(below))
            total += in_order(self._through(steps, in_order(part)))
        return total

    def _through(
        self, steps: "Direction", relevance: Float[Tensor, "batch time hidden"]
    ) -> Float[Tensor, "batch time below"]:
        """The relevance of the inputs of one direction of a layer, from the last step to the first.

        Everything that does not depend on relevance is computed for all steps at once.
        """
        products = steps.below @ steps.w_x.T
        products += steps.outer * ((steps.inner * steps.before) @ steps.w_h.T)
        signal = products + steps.bias
        inverse = 1 / (signal + self._signed(signal))
        even_parts = (steps.bias + self._signed(signal)) * inverse
        inputs, hidden = steps.below.shape[-1], signal.shape[-1]
        of_hidden = of_state = torch.zeros_like(signal[:, 0])
        values = torch.empty_like(steps.below)
        if steps.kept is not None:
            state = steps.kept + steps.gained
            state_inverse = 1 / (state + self._signed(state))
            state_even = self._signed(state) * state_inverse
            kept_share, gained_share = steps.kept * state_inverse, steps.gained * state_inverse
        for t in reversed(range(steps.below.shape[1])):
            of_signal = relevance[:, t] + of_hidden + of_state
            if steps.kept is not None:
                even = (of_signal * state_even[:, t]).sum(dim=1, keepdim=True)
                even = even / (hidden if t == 0 else 2 * hidden)
                of_state = of_signal * kept_share[:, t] + even
                of_signal = of_signal * gained_share[:, t] + even
            share = of_signal * inverse[:, t]
            even = (of_signal * even_parts[:, t]).sum(dim=1, keepdim=True)
            even = even / (inputs if t == 0 else inputs + hidden)
            values[:, t] = steps.below[:, t] * (share @ steps.w_x) + even
            through = (share * steps.outer[:, t]) @ steps.w_h
            of_hidden = steps.before[:, t] * steps.inner[:, t] * through + even
        return values


@dataclass(frozen=True)
class Direction:
    """What LRP needs of one direction of a layer, in the order in which the direction reads.

    The signal is the candidate of an LSTM or GRU, or the new state of an Elman network. Its
    pre-activation is W_x x_t + outer_t ⊙ W_h (inner_t ⊙ h_{t-1}) + bias_t.
    """

    below: Float[Tensor, "batch time below"]  # the inputs x_t of the layer
    before: Float[Tensor, "batch time hidden"]  # h_{t-1}
    w_x: Float[Tensor, "hidden below"]
    w_h: Float[Tensor, "hidden hidden"]
    bias: Float[Tensor, "batch time hidden"]
    outer: Float[Tensor, "batch time hidden"]
    inner: Float[Tensor, "batch time hidden"]
    # The state is kept_t + gained_t. An Elman network keeps nothing.
    kept: Float[Tensor, "batch time hidden"] | None
    gained: Float[Tensor, "batch time hidden"]

    @classmethod
    def of(
        cls,
        encoder: RNN | LSTM | GRU,
        weights: Sequence[Tensor],
        known: dict[str, Tensor],
        below: Float[Tensor, "batch time below"],
    ) -> "Direction":
        """Build the quantities from the weights and from the states and gates of a trace."""
        hidden = known["hidden"]
        before, ones = _shifted(hidden), torch.ones_like(hidden)
        # The candidate is the third block of rows in the weights of an LSTM and of a GRU.
        block = 0 if isinstance(encoder, RNN) else 2
        w_x, w_h, b_x, b_h = (torch.split(w, hidden.shape[-1])[block] for w in weights)
        kept, gained, outer, inner = None, hidden, ones, ones
        if isinstance(encoder, LSTM):
            kept = known["forget"] * _shifted(known["cell"])
            gained = known["input"] * known["candidate"]
        if isinstance(encoder, GRU):
            kept = known["update"] * before
            gained = (1 - known["update"]) * known["candidate"]
            outer, inner = (
                (known["reset"], ones) if encoder.reset == "after" else (ones, known["reset"])
            )
        bias = b_x + outer * b_h
        return cls(below, before, w_x, w_h, bias, outer, inner, kept, gained)


def _shifted(states: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "batch time hidden"]:
    """The state before each step, which is zero before the first step."""
    return torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
