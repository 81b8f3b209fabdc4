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
    """The settings of a recipe (conf/recipe/) for the initialisation of a model's weights."""

    recurrent: Recurrent
    input: Input
    forget_bias: float | Literal["chrono"]  # the bias of every forget gate
    # With "gate", the matrix of each gate is drawn separately. With "layer", the matrices of all
    # gates of a layer are drawn as one matrix.
    unit: Unit = "gate"
    length: int | None = None  # the task's sequence length T in steps, which `chrono` needs

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, length: int) -> "Initialisation":
        """Read a recipe's `initialisation` settings, for a task of `length` steps per sequence.

        Raises UserError if a setting has an unknown value. Raises UserError if `recurrent` is
        "identity" and `unit` is "layer", because the matrix of a whole layer is not square.
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
        """The forget-gate biases of one layer, which are random if `forget_bias` is `chrono`.

        `chrono` draws b_f = log u with u ~ U(1, T - 1), as in equation 16 of [tallec2018]. With
        `chrono`, a forget gate's time constant 1 / (1 - σ(b_f)) = 1 + u is uniformly distributed
        from 2 to T steps.
        """
        if self.forget_bias != "chrono":
            return torch.full((size,), float(self.forget_bias))
        assert self.length is not None
        return torch.empty(size).uniform_(1.0, max(1.0, self.length - 1.0)).log()


@dataclass(frozen=True)
class Trace:
    """The features of a forward pass, and the model's states, gates and attention weights.

    A key of `states`, `gates` or `path` consists of a name and a layer number, such as «forget/1».
    """

    features: Float[Tensor, "batch query hidden"]
    states: Mapping[str, Float[Tensor, "batch time _"]]  # widths may differ
    gates: Mapping[str, Float[Tensor, "batch time _"]] = field(default_factory=dict)
    attention: Float[Tensor, "batch query time"] | None = None  # the mean over the heads
    heads: Float[Tensor, "batch head query time"] | None = None  # None if there is one head
    # for each state, its tensors in the autograd graph: T tensors (B, H) or one tensor (B, T, H)
    path: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)

    def gradients(self, loss: Float[Tensor, ""]) -> dict[str, Float[Tensor, "batch time _"]]:
        """The total derivative ∂loss/∂state of each state in `path`, through all later steps.

        The trace must be differentiable. For a recurrent model, `path` holds one tensor per step. A
        fast kernel returns all states as one tensor (B, T, H), and the gradient with respect to
        this tensor would omit the effect of a state on later states.
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
    """An encoder of padded sequences. Its features do not depend on the values in the padding."""

    output_size: int  # H, the width of a feature vector

    @abstractmethod
    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The features at the queries, computed by the fastest available kernel."""

    @abstractmethod
    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features at the queries, and the states, gates and attention weights.

        The features differ from those of `forward` by rounding errors of at most 1e-5. If
        `differentiable` is true, the trace keeps its autograd graph, which `Trace.gradients` needs.
        """

    def attention_by_layer(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> list[Float[Tensor, "batch head query time"]]:
        """The attention weights at the queries, one tensor per layer.

        Unlike `trace`, the method returns no features, states or gates.

        Raises NotApplicable if the model has no attention.
        """
        raise NotApplicable(f"{type(self).__name__} has no attention")

    @abstractmethod
    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise every weight, with random numbers from torch's global generator."""


class RecurrentEncoder(SequenceModel):
    """An encoder that carries a state from step to step, with features of width H = `output_size`.

    An encoder that is not bidirectional implements `step`. This method computes one time step, and
    is used for streaming, Jacobians and Lyapunov exponents. A bidirectional model cannot implement
    `step`, because its backward direction starts at the end of a sequence.
    """

    layers: int
    state_size: int  # S, the total width of the states of all layers
    bidirectional: bool = False
    keeping: ClassVar[str | None] = None  # the name of the gate that multiplies the previous state
    truncates: bool = False  # whether `outputs` can truncate back-propagation
    # Training detaches the state from the autograd graph every `truncate` steps (None: never).
    truncate: int | None = None

    @abstractmethod
    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's output at every step, computed by the fastest available kernel."""

    @abstractmethod
    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) and the next state (B, S), computed for one step.

        Raises NotApplicable if the model is bidirectional.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state (B, S) before the first step."""

    def log_kept(
        self, gate: str, values: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"] | None:
        """The logarithm of the share of the previous state that a unit keeps.

        The share is computed from `values`, the values of the gate with the name `gate`. Returns
        None if this gate does not determine which share of the previous state a unit keeps.
        """
        return values.log() if gate == self.keeping else None

    def log_decays(self) -> list[Float[Tensor, " unit"]]:
        """The logarithms of decay factors that do not depend on the input, one tensor per layer.

        A decay factor is the share of the previous state that a unit keeps at each step. The list
        is empty if a gate determines the decay factor, or if the model has no decay factor.
        """
        return []

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The features at the queries, which are the last layer's outputs.

        An encoder that is not bidirectional stops at the last query of each sequence, because no
        query depends on later steps.
        """
        last = query.amax(dim=1).clamp(min=0)
        ends = lengths if self.bidirectional else torch.minimum(lengths, last + 1)
        return at_queries(self.outputs(inputs, ends), query)

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
    """The state at the step of each query.

    For a padding query (-1), the result is the state at the first step. The loss ignores the
    answers to padding queries.
    """
    index = query.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return states.gather(1, index)


def reversed_within(
    inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch time feature"]:
    """Each sequence in reverse order, with its padding still at the end.

    The function is its own inverse.
    """
    step = torch.arange(inputs.shape[1], device=inputs.device)
    mirrored = lengths.unsqueeze(1) - 1 - step
    index = torch.where(mirrored >= 0, mirrored, step).unsqueeze(-1).expand_as(inputs)
    return inputs.gather(1, index)
