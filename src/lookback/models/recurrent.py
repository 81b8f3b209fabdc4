"""The base class of RNN, LSTM and GRU, with fast kernels and with equations for single steps.

A layer computes state_t = cell(W_x x_t + b_x, state_{t-1}, W_h, b_h). The vector x_t is the
network's input, or h_t of the layer below, and every state starts at zero.

Each model class implements the equations of its paper in `cell`. The weights are parameters of a
torch module (nn.RNN, nn.LSTM or nn.GRU). If our own kernels (lookback/kernels/) cannot run a layer,
the torch module computes the outputs, for example with cuDNN on a GPU. With layer norm or recurrent
dropout (recurrent_layer.py), the equations compute every step, because no kernel has them.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lookback.errors import NotApplicable
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
from lookback.models.recurrent_layer import BlockNorm, Layer
from lookback.models.sizes import require_dropout
from lookback.models.truncation import truncated_features
from lookback.runtime.settings import require_positive

Parts = tuple[Tensor, ...]  # the tensors (B, H) of one layer's state, with the hidden state h first
Gates = dict[str, Tensor]  # gate values (B, H) by name


class RecurrentModel(RecurrentEncoder):
    """A stack of layers, which all use the equations of `cell`. H = `output_size`.

    The states of all layers form one tensor (B, S) with S = layers · parts · H, where `parts` is
    the number of tensors in one layer's state. The state of an LSTM is [h; c] of layer 0, followed
    by [h; c] of layer 1, and so on.

    A bidirectional layer also reads each sequence from its last step to its first. The output of a
    bidirectional layer is the forward h followed by the backward h, so H = 2 · `hidden_size`. In a
    trace, the states and gates of the backward direction have names such as «hidden_reverse/l».

    With `bias` "double", a layer has the biases b_x and b_h, as in torch and cuDNN. With `bias`
    "single", the only bias is b_x, as in Keras, and b_h is a constant zero. An RNN and an LSTM need
    only the sum b_x + b_h. With two biases, Adam moves this sum twice as far in a step.
    """

    parts: ClassVar[tuple[str, ...]] = ("hidden",)  # the tensors of one layer's state
    # For layer norm, the blocks that are normalised apart, in multiples of H, or () if the layer
    # normalises the sum of both products.
    normed_blocks: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        kernel: Callable[..., nn.RNNBase],
        fused: Kernel | None,
        features: int,
        hidden_size: int,
        layers: int,
        dropout: float,
        bias: Literal["double", "single"],
        bidirectional: bool,
        layer_norm: bool,
        recurrent_dropout: float,
    ) -> None:
        super().__init__()
        require_positive("model", hidden_size=hidden_size, layers=layers)
        require_dropout(dropout, between=layers)
        require_dropout(recurrent_dropout, name="recurrent_dropout")
        self.recurrent_dropout = recurrent_dropout
        # Our own kernel for the equations of `cell`, or None
        self.fused = None if layer_norm or recurrent_dropout else fused
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
        if bias == "single":
            for name, parameter in list(self.kernel.named_parameters()):
                if name.startswith("bias_hh"):
                    delattr(self.kernel, name)
                    zero = nn.Buffer(torch.zeros_like(parameter), persistent=False)
                    setattr(self.kernel, name, zero)
        self.hidden_size = hidden_size
        self.output_size = self.directions * hidden_size
        self.layers = layers
        self.state_size = layers * len(self.parts) * self.output_size
        # One entry per layer and direction, which is empty without layer norm
        self.norms = nn.ModuleList(
            nn.ModuleDict(self._norms() if layer_norm else {})
            for _ in range(layers * self.directions)
        )

    @property
    def truncates(self) -> bool:  # type: ignore[override]
        """Whether `outputs` can truncate gradients.

        This needs a model that has its own kernel `fused` and is not bidirectional.
        """
        return self.fused is not None and not self.bidirectional

    def _norms(self) -> dict[str, nn.Module]:
        """The layer norms of one direction of a layer."""
        sizes = [count * self.hidden_size for count in self.normed_blocks]
        norms: dict[str, nn.Module] = {"sum": BlockNorm([self.hidden_size])}
        if sizes:
            norms = {"input": BlockNorm(sizes), "state": BlockNorm(sizes)}
        if "cell" in self.parts:
            norms["cell"] = nn.LayerNorm(self.hidden_size)
        return norms

    @abstractmethod
    def cell(
        self, from_input: Float[Tensor, "batch blocks"], state: Parts, layer: Layer
    ) -> tuple[Parts, Gates]:
        """The next state and the gates, where `from_input` is `layer.from_input(x_t)`."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return self.kernel.all_weights[0][0].new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) and the next state (B, S), computed for one step by the equations.

        A single step has no recurrent dropout, because its mask belongs to a whole sequence. Raises
        NotApplicable if the model is bidirectional.
        """
        if self.bidirectional:
            raise NotApplicable("a bidirectional model has no single step")
        parts = state.chunk(self.layers * len(self.parts), dim=1)
        width, following = len(self.parts), list[Tensor]()
        for layer in range(self.layers):
            of_layer = self._layer(layer)
            layer_state = parts[layer * width : (layer + 1) * width]
            layer_state, _ = self.cell(of_layer.from_input(input), layer_state, of_layer)
            following += layer_state
            input = self._between_layers(layer_state[0], layer)
        return input, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's hidden state at every step, computed by the fastest available kernel.

        Values after a sequence's last step have no meaning.
        """
        if self._truncates_now:
            steps = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
            return self.forward(inputs, lengths, steps.where(steps < lengths.unsqueeze(1), -1))
        if self.fused is None:
            gradients = torch.is_grad_enabled()
            trace = self.trace(inputs, lengths, lengths[:, None] - 1, differentiable=gradients)
            return self._layer_output(trace.states, self.layers - 1)
        if not applies(inputs, self._weights(0)[0]):
            return self._by_torch(inputs, lengths, None)[0]
        for layer in range(self.layers):
            forward, *reverse = self._weights(layer)
            outputs = [run_layer(self.fused, inputs, lengths, forward, carries=False)[0]]
            for weights in reverse:
                reversed_inputs = reversed_within(inputs, lengths)
                backward, _ = run_layer(
                    self.fused, reversed_inputs, lengths, weights, carries=False
                )
                outputs.append(reversed_within(backward, lengths))
            inputs = self._between_layers(_concatenated(outputs), layer)
        return inputs

    def forward(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
    ) -> Float[Tensor, "batch query hidden"]:
        """The features at the queries, with truncated gradients in training if `truncate` is set.

        An encoder that is not bidirectional stops at the last query of each sequence.
        """
        if not self._truncates_now:
            return super().forward(inputs, lengths, query)
        assert self.truncate is not None
        ends = torch.minimum(lengths, query.amax(dim=1).clamp(min=0) + 1)
        weight = self.kernel.all_weights[0][0]
        return truncated_features(self._advance, weight, inputs, ends, query, self.truncate)

    def resume(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        states: Sequence[Parts] | None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's hidden state at every step, if each layer starts from its own state.

        `states` holds the state of each layer before the first step of `inputs`. Without it, every
        state starts at zero. `lengths` are the steps that `inputs` holds of each sequence. No
        gradients flow to `states`.

        Raises NotApplicable if the model is bidirectional.
        """
        if self.bidirectional:
            raise NotApplicable("a bidirectional model has no state before a step")
        if states is None:
            return self.outputs(inputs, lengths)
        if self.fused is not None and applies(inputs, self._weights(0)[0]):
            for layer, state in enumerate(states):
                (weights,) = self._weights(layer)
                inputs, _ = run_layer(self.fused, inputs, lengths, weights, state, carries=False)
            return inputs
        if self.fused is not None:
            stacked = tuple(torch.stack(parts) for parts in zip(*states, strict=True))
            start = stacked if len(stacked) > 1 else stacked[0]
            return self._by_torch(inputs, lengths, start)[0]
        joined = torch.cat([part for parts in states for part in parts], dim=1)
        outputs = list[Tensor]()
        for step in inputs.unbind(dim=1):
            output, joined = self.step(step, joined)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    @property
    def _truncates_now(self) -> bool:
        return self.truncate is not None and self.training and torch.is_grad_enabled()

    def _advance(self, inputs: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The last layer's outputs, and the state of all layers after the last step."""
        if not applies(inputs, self._weights(0)[0]):
            return self._by_torch(inputs, lengths, state)
        assert self.fused is not None
        following = list[Parts]()
        for layer in range(self.layers):
            (weights,), of_layer = self._weights(layer), state[layer] if state else ()
            outputs, last = run_layer(self.fused, inputs, lengths, weights, of_layer)
            following.append(last)
            inputs = self._between_layers(outputs, layer)
        return inputs, following

    def _by_torch(self, inputs: Tensor, lengths: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The outputs of the torch module, and its last state.

        With packed sequences, the torch module stops at each sequence's last step. The backward
        direction needs packed sequences, because it starts there. A network with ReLU needs packed
        sequences, because its state could overflow after the last step, and the gradient of the
        weights would be NaN. All other states are bounded, and need no packed sequences.
        """
        if not self.bidirectional and self.kernel.mode != "RNN_RELU":
            outputs, state = self.kernel(inputs, state)
            return outputs, state
        # A packed sequence has at least one step. `pack_padded_sequence` needs lengths on the CPU.
        steps = inputs.shape[1]
        packed = pack_padded_sequence(
            inputs, lengths.clamp(1, steps).cpu(), batch_first=True, enforce_sorted=False
        )
        packed_outputs, state = self.kernel(packed, state)
        outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=steps)
        if not self.bidirectional:
            state = state.masked_fill((lengths < steps).unsqueeze(1), 0.0)
        return outputs, state

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features of `forward`, and the states and gates of every layer.

        Values after a sequence's last step have no meaning. A differentiable trace is computed by
        the equations and not by a fused kernel, so that its states are part of the autograd graph
        of the loss.
        """
        states, gates = dict[str, Tensor](), dict[str, Tensor]()
        path = dict[str, Sequence[Tensor]]()
        by_kernel = not differentiable and self.fused is not None
        by_kernel = by_kernel and applies(inputs, self._weights(0)[0])
        with torch.set_grad_enabled(differentiable):
            for layer in range(self.layers):
                for direction in range(self.directions):
                    suffix = f"{'_reverse' if direction else ''}/{layer}"
                    if by_kernel:
                        new_states, new_gates = self._traced_by_kernel(
                            inputs, lengths, layer, direction
                        )
                    else:
                        new_states, new_gates, steps = self._traced_by_equations(
                            inputs, lengths, layer, direction
                        )
                        path |= {name + suffix: tensors for name, tensors in steps.items()}
                    states |= {name + suffix: values for name, values in new_states.items()}
                    gates |= {name + suffix: values for name, values in new_gates.items()}
                inputs = self._between_layers(self._layer_output(states, layer), layer)
            return Trace(at_queries(inputs, query), states, gates, path=path)

    def _traced_by_kernel(
        self, inputs: Tensor, lengths: Tensor, layer: int, direction: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The states and the gates of one direction of a layer, computed by the fused kernel."""
        assert self.fused is not None
        weights = self._weights(layer)[direction]
        if not direction:
            return open_layer(self.fused, inputs, lengths, weights)
        states, gates = open_layer(self.fused, reversed_within(inputs, lengths), lengths, weights)
        return (
            {name: reversed_within(values, lengths) for name, values in states.items()},
            {name: reversed_within(values, lengths) for name, values in gates.items()},
        )

    def _traced_by_equations(
        self, inputs: Tensor, lengths: Tensor, layer: int, direction: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, list[Tensor]]]:
        """Compute the states and the gates of one direction of a layer by the equations.

        The third result holds the tensors (B, H) of each state, one tensor per step. Each step in
        the padding starts with the state zero, so that no state can overflow there, and so that the
        backward direction enters a sequence's last step with the state zero.
        """
        zero = self.kernel.all_weights[0][1].new_zeros(len(inputs), self.hidden_size)
        mask = None
        if self.training and self.recurrent_dropout:
            mask = functional.dropout(torch.ones_like(zero), self.recurrent_dropout)
        of_layer = self._layer(layer, direction, mask)
        steps_of: dict[str, list[Tensor]] = {}
        state: Parts = (zero,) * len(self.parts)
        all_steps = list(enumerate(of_layer.from_input(inputs).unbind(dim=1)))
        for t, from_input in reversed(all_steps) if direction else all_steps:
            # The step before step t in the backward direction is t + 1.
            is_inside = (t + direction < lengths).unsqueeze(1)
            state = tuple(torch.where(is_inside, part, zero) for part in state)
            state, gates = self.cell(from_input, state, of_layer)
            values = dict(zip(self.parts, state, strict=True)) | gates
            for name, value in values.items():
                steps_of.setdefault(name, []).append(value)
        if direction:
            steps_of = {name: steps[::-1] for name, steps in steps_of.items()}
        stacked = {name: torch.stack(steps, dim=1) for name, steps in steps_of.items()}
        states = {name: stacked.pop(name) for name in self.parts}
        return states, stacked, {name: steps_of[name] for name in self.parts}

    def _layer(self, layer: int, direction: int = 0, mask: Tensor | None = None) -> Layer:
        """One direction of a layer, with the mask of its recurrent dropout."""
        place = layer * self.directions + direction
        norms = self.norms[place]
        assert isinstance(norms, nn.ModuleDict)
        w_x, w_h, b_x, b_h = self.kernel.all_weights[place]
        return Layer(w_x, w_h, b_x, b_h, norms, mask)

    def _layer_output(self, states: Mapping[str, Tensor], layer: int) -> Tensor:
        """The hidden states of a layer, concatenated over its one or two directions."""
        suffixes = ("", "_reverse")[: self.directions]
        return _concatenated([states[f"hidden{suffix}/{layer}"] for suffix in suffixes])

    def _weights(self, layer: int) -> list[Any]:
        """The weights (W_x, W_h, b_x, b_h) of a layer, one tuple per direction."""
        first = layer * self.directions
        return list(self.kernel.all_weights[first : first + self.directions])

    def _between_layers(self, hidden: Tensor, layer: int) -> Tensor:
        """Apply dropout to a layer's output `hidden` in training, except after the last layer."""
        is_inner = layer < self.layers - 1
        return functional.dropout(hidden, self.dropout, self.training) if is_inner else hidden

    def train(self, mode: bool = True) -> "RecurrentModel":
        """Set training or evaluation mode. Dropout acts in training mode only.

        The torch module always stays in training mode, because cuDNN has no backward pass in
        evaluation mode. In evaluation mode, the dropout of the torch module is set to 0, so the
        module computes the same outputs as a torch module in evaluation mode.
        """
        super().train(mode)
        self.kernel.train()
        self.kernel.dropout = self.dropout if mode else 0.0
        return self

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Draw all weight matrices, and set all biases to zero and all gains to one.

        If the recipe's `unit` is "gate", each gate's matrices are drawn separately, with shape
        (H, F) for the input and (H, H) for the state. If the recipe's `unit` is "layer", the
        matrices of all gates of a layer are drawn as one matrix for the input and one for the
        state.
        """
        for w_x, w_h, b_x, b_h in self.kernel.all_weights:
            units = len(w_h) // self.hidden_size if initialisation.unit == "gate" else 1
            for block in w_x.chunk(units):
                self._fill(block, initialisation.input)
            for block in w_h.chunk(units):
                self._fill(block, initialisation.recurrent)
            nn.init.zeros_(b_x)
            nn.init.zeros_(b_h)
        for name, parameter in self.norms.named_parameters():
            nn.init.constant_(parameter, float(not name.endswith("bias")))

    def _fill(self, block: Tensor, method: Recurrent | Input) -> None:
        if method == "orthogonal":
            nn.init.orthogonal_(block)
        elif method == "identity":
            nn.init.eye_(block)
        elif method == "xavier_uniform":
            nn.init.xavier_uniform_(block)
        elif method == "normal":
            nn.init.normal_(block, std=0.001)  # the distribution of W_x in [le2015]
        else:
            bound = self.hidden_size**-0.5  # torch's default
            nn.init.uniform_(block, -bound, bound)


def _concatenated(states: Sequence[Tensor]) -> Tensor:
    return states[0] if len(states) == 1 else torch.cat(list(states), dim=-1)
