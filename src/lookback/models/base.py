"""What every model is: features at the queries, fast, and the same opened up for study, `trace`."""

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
    """How weights start; conf/recipe/ names the choices."""

    recurrent: Recurrent
    input: Input
    forget_bias: float | Literal["chrono"]  # of every forget gate
    unit: Unit = "gate"  # what is drawn as one matrix: a gate's, or a layer's with all its gates
    length: int | None = None  # T, the task's; `chrono` asks for it

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, length: int) -> "Initialisation":
        """A recipe's `initialisation` for a task of `length` steps.

        Raises UserError where it names a way that there is not, or two that go ill together.
        """
        named = {"unit": "gate", **settings}
        for name, kind in (("recurrent", Recurrent), ("input", Input), ("unit", Unit)):
            ways = get_args(kind)
            if (way := named.get(name)) not in ways:
                raise UserError(
                    f"The recipe's `initialisation.{name}` is {way!r}. "
                    f"Say one of {', '.join(ways)}."
                )
        if named["recurrent"] == "identity" and named["unit"] == "layer":
            raise UserError(
                "The recipe's `initialisation.recurrent` is identity, which only a gate's own "
                "matrix can be. Set its `initialisation.unit` to gate."
            )
        return cls(**named, length=length)

    def forget_biases(self, size: int) -> Float[Tensor, " hidden"]:
        """The biases of a layer's forget gates, drawn anew where the recipe says `chrono`.

        b_f = log u, u ~ U(1, T - 1): Tallec & Ollivier 2018, "Can recurrent neural networks warp
        time?", eq. 16. A gate's time constant, 1 / (1 - σ(b_f)) = 1 + u, is then uniform up to T.
        """
        if self.forget_bias != "chrono":
            return torch.full((size,), float(self.forget_bias))
        assert self.length is not None
        return torch.empty(size).uniform_(1.0, max(1.0, self.length - 1.0)).log()


@dataclass(frozen=True)
class Trace:
    """A forward pass opened up. Keys end in the layer: «hidden/0», «forget/1»."""

    features: Float[Tensor, "batch query hidden"]
    states: Mapping[str, Float[Tensor, "batch time _"]]  # each as wide as it is
    gates: Mapping[str, Float[Tensor, "batch time _"]] = field(default_factory=dict)
    attention: Float[Tensor, "batch query time"] | None = None  # the mean over heads
    heads: Float[Tensor, "batch head query time"] | None = None  # of a model with several
    # The tensors that lie on the path to the loss, by state: one (B, H) a step, or one (B, T, H).
    path: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)

    def gradients(self, loss: Float[Tensor, ""]) -> dict[str, Float[Tensor, "batch time _"]]:
        """∂loss/∂state, total: through all later steps, for each state of a differentiable trace.

        The gradient of a fast kernel's stacked output would be the direct term alone.
        """
        keys = [(name, len(tensors)) for name, tensors in self.path.items()]
        flat = [tensor for tensors in self.path.values() for tensor in tensors]
        found = torch.autograd.grad(loss, flat, allow_unused=True)
        filled = [torch.zeros_like(t) if g is None else g for t, g in zip(flat, found, strict=True)]
        gradients, start = {}, 0
        for name, count in keys:
            part = filled[start : start + count]
            gradients[name] = part[0] if part[0].dim() == 3 else torch.stack(part, dim=1)
            start += count
        return gradients


class SequenceModel(nn.Module, ABC):
    """An encoder of sequences. What stands past a sequence's length changes nothing."""

    output_size: int  # H, the width of a feature

    @abstractmethod
    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """Features at the queries, by the fastest way there is."""

    @abstractmethod
    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same features to 1e-5, with states, gates and attention on the way.

        `differentiable`: keep the graph, so that `Trace.gradients` works.
        """

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention of the queries, a tensor a layer, without the rest of a trace.

        Raises NotApplicable where the model has none.
        """
        raise NotApplicable(f"{type(self).__name__} has no attention")

    @abstractmethod
    def initialise(self, initialisation: Initialisation) -> None:
        """Draw every weight anew from torch's global generator."""


class RecurrentEncoder(SequenceModel):
    """A model that carries a state from step to step; H = `output_size`.

    In one direction it has `step`, by its equations: streaming, Jacobians and Lyapunov exponents
    stand on it. In two directions (`bidirectional`) there is no such step.
    """

    layers: int
    state_size: int  # S, the width of the whole state, all layers of it
    bidirectional: bool = False
    keeping: ClassVar[str | None] = None  # the gate whose value is the share of its state kept
    truncates: bool = False  # whether `outputs` heeds `truncate`
    truncate: int | None = None  # steps after which training cuts the state from its past

    @abstractmethod
    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's output at every step, by the fastest way there is."""

    @abstractmethod
    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) of one step and the next state (B, S).

        Raises NotApplicable in two directions.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step (B, S)."""

    def log_kept(
        self, gate: str, values: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"] | None:
        """The logarithm of the share of its state that a unit keeps, by a gate of these `values`.

        None of a gate that has no say in it.
        """
        return values.log() if gate == self.keeping else None

    def log_decays(self) -> list[Float[Tensor, " unit"]]:
        """By layer, the logarithm of the share that a unit keeps at every step, whatever it reads.

        Empty where that hangs on a gate, or on nothing.
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
        """A trace that is asked at every step: its features are the outputs, on the path."""
        every = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
        return self.trace(inputs, lengths, every, differentiable=differentiable)


def at_queries(
    states: Float[Tensor, "batch time hidden"], query: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch query hidden"]:
    """The state at each query; where there is none (-1), the first, which no loss looks at."""
    index = query.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index)


def reversed_within(
    inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time feature"]:
    """Each sequence back to front, its padding left where it is; twice is nothing."""
    step = torch.arange(inputs.shape[1], device=inputs.device)
    back = lengths.unsqueeze(1) - 1 - step
    index = torch.where(back >= 0, back, step).unsqueeze(-1).expand_as(inputs)
    return inputs.gather(1, index)
