"""The base classes of all models.

`forward` computes features at the queries, fast. `trace` computes the same features and also
returns the model's states, gates and attention weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lookback.errors import NotApplicable, UserError

Recurrent = Literal["orthogonal", "uniform", "identity"]
Input = Literal["xavier_uniform", "uniform", "normal"]
Unit = Literal["gate", "layer"]


@dataclass(frozen=True)
class Initialisation:
    """How a model's weights are initialised. The settings come from conf/recipe/."""

    recurrent: Recurrent
    input: Input
    forget_bias: float | Literal["chrono"]  # the bias of every forget gate
    # "gate": draw each gate's matrix separately; "layer": draw all gates of a layer as one matrix.
    unit: Unit = "gate"
    length: int | None = None  # T, the task's sequence length in steps; only `chrono` needs it

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, length: int) -> "Initialisation":
        """Read a recipe's `initialisation` settings, for a task of `length` steps.

        Raises UserError if a setting has an unknown value, or if `recurrent` is "identity" and
        `unit` is "layer".
        """
        settings = {"unit": "gate", **settings}
        for name, kind in (("recurrent", Recurrent), ("input", Input), ("unit", Unit)):
            choices = get_args(kind)
            if (value := settings.get(name)) not in choices:
                raise UserError(
                    f"The recipe's `initialisation.{name}` is {value!r}. "
                    f"Choose one of {', '.join(choices)}."
                )
        if settings["recurrent"] == "identity" and settings["unit"] == "layer":
            raise UserError(
                "The recipe's `initialisation.recurrent` is identity, which needs a square matrix "
                "per gate, but its `initialisation.unit` is layer. Set `unit` to gate."
            )
        return cls(**settings, length=length)

    def forget_biases(self, size: int) -> Float[Tensor, " hidden"]:
        """The biases of one layer's forget gates: a constant, or a random draw with `chrono`.

        `chrono` is eq. 16 of [tallec2018]: b_f = log u with u ~ U(1, T - 1). A forget gate's time
        constant, 1 / (1 - σ(b_f)) = 1 + u steps, is then uniformly distributed up to T.
        """
        if self.forget_bias != "chrono":
            return torch.full((size,), float(self.forget_bias))
        assert self.length is not None
        return torch.empty(size).uniform_(1.0, max(1.0, self.length - 1.0)).log()


@dataclass(frozen=True)
class Trace:
    """The features of a forward pass, with the states, gates and attention weights behind them.

    Each key of a mapping is a name and a layer number: «hidden/0», «forget/1».
    """

    features: Float[Tensor, "batch query hidden"]
    states: Mapping[str, Float[Tensor, "batch time _"]]  # widths may differ
    gates: Mapping[str, Float[Tensor, "batch time _"]] = field(default_factory=dict)
    attention: Float[Tensor, "batch query time"] | None = None  # the mean over the heads
    heads: Float[Tensor, "batch head query time"] | None = None  # None if there is one head
    # For each state, its tensors in the autograd graph: one (B, H) per step, or one (B, T, H).
    path: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)

    def gradients(self, loss: Float[Tensor, ""]) -> dict[str, Float[Tensor, "batch time _"]]:
        """The total derivative ∂loss/∂state through all later steps, for each state in `path`.

        The trace must be differentiable. A gradient with respect to a fast kernel's stacked output
        would contain only the direct term, so `path` holds the state tensors of the single steps.
        """
        counts = [(name, len(tensors)) for name, tensors in self.path.items()]
        flat = [tensor for tensors in self.path.values() for tensor in tensors]
        grads = torch.autograd.grad(loss, flat, allow_unused=True)
        filled = [torch.zeros_like(t) if g is None else g for t, g in zip(flat, grads, strict=True)]
        gradients, start = {}, 0
        for name, count in counts:
            steps = filled[start : start + count]
            gradients[name] = steps[0] if steps[0].dim() == 3 else torch.stack(steps, dim=1)
            start += count
        return gradients


class SequenceModel(nn.Module, ABC):
    """An encoder of padded sequences. The values of the padding do not change any feature."""

    output_size: int  # H, the width of a feature vector

    @abstractmethod
    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries, computed by the fastest available kernel."""

    @abstractmethod
    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features of `forward` within 1e-5, with the states, gates and attention behind them.

        With `differentiable` the trace keeps its autograd graph, so that `Trace.gradients` works.
        """

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights of the queries, one tensor per layer, without a whole trace.

        Raises NotApplicable if the model has no attention.
        """
        raise NotApplicable(f"{type(self).__name__} has no attention")

    @abstractmethod
    def initialise(self, initialisation: Initialisation) -> None:
        """Draw every weight from torch's global random generator."""


class RecurrentEncoder(SequenceModel):
    """A model that carries a state from step to step. H = `output_size`.

    A model of one direction implements its equations in `step`, which streaming, Jacobians and
    Lyapunov exponents use. A bidirectional model has no single step.
    """

    layers: int
    state_size: int  # S, the width of the state of all layers together
    bidirectional: bool = False
    keeping: ClassVar[str | None] = None  # the gate whose value is the kept share of the state
    truncates: bool = False  # whether `outputs` supports `truncate`
    truncate: int | None = None  # steps after which training detaches the state; None: never

    @abstractmethod
    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's output at every step, computed by the fastest available kernel."""

    @abstractmethod
    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """One step: its output (B, H) and the next state (B, S).

        Raises NotApplicable if the model is bidirectional.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state (B, S) before the first step."""

    def log_kept(
        self, gate: str, values: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"] | None:
        """The logarithm of the share of its state that a unit keeps, from the `values` of `gate`.

        Returns None if `gate` does not decide which share of its state a unit keeps.
        """
        return values.log() if gate == self.keeping else None

    def log_decays(self) -> list[Float[Tensor, " unit"]]:
        """Per layer, the logarithm of the share of its state that a unit keeps for any input.

        The list is empty if a gate decides the share, or if the model has no decay.
        """
        return []

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The last layer's outputs at the queries."""
        return at_queries(self.outputs(inputs, lengths), query)

    def trace_outputs(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """A trace with a query at every step, so its `features` are the outputs (B, T, H)."""
        steps = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
        return self.trace(inputs, lengths, steps, differentiable=differentiable)


def at_queries(
    states: Float[Tensor, "batch time hidden"], query: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch query hidden"]:
    """The state at each query. A missing query (-1) gets the first state, which no loss uses."""
    index = query.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index)


def reversed_within(
    inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time feature"]:
    """Each sequence in reverse order, its padding unmoved. The function is its own inverse."""
    step = torch.arange(inputs.shape[1], device=inputs.device)
    mirrored = lengths.unsqueeze(1) - 1 - step
    index = torch.where(mirrored >= 0, mirrored, step).unsqueeze(-1).expand_as(inputs)
    return inputs.gather(1, index)
