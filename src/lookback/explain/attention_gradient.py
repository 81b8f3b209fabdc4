"""Attention × gradient: Σ over heads of α_s ∂f/∂α_s, in the last attention layer [chefer2021].

Attention adds up value vectors, u = Σ_s α_s v_s. So α_s ∂f/∂α_s = α_s v_s · ∂f/∂u, the part of the
step s in the first-order change of the answer if u becomes zero. Unlike the weight alone, this
value has a sign and depends on the explained answer. The last layer reads states that already mix
several inputs.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, explained_answer, within
from lookback.models.attention import AttentionModel
from lookback.models.lstm_transformer import LSTMTransformer
from lookback.models.network import Network
from lookback.models.transformer import Transformer
from lookback.models.transformer_layer import TransformerLayer


class AttentionGradient:
    """Attention weights of the last layer times their gradients, summed over the heads."""

    def __init__(self, sequences: int):
        self.sequences = sequences

    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute to each step its value, divided evenly among its F features.

        Raises NotApplicable if the model has no attention.
        """
        seen: dict[str, Tensor] = {}
        handles = _watch(model.encoder, seen)
        try:
            with torch.enable_grad():
                explained = explained_answer(model, batch, output, batch.inputs).sum()
                (slope,) = torch.autograd.grad(explained, seen["u"])
        finally:
            for handle in handles:
                handle.remove()
        with torch.no_grad():
            layers = model.encoder.attention_by_layer(batch.inputs, batch.lengths, batch.query)
            weights, vectors = layers[-1][:, :, 0], seen["v"]  # (B, heads, T), (B, T, width)
            count, time, width = vectors.shape
            vectors = vectors.view(count, time, weights.shape[1], -1)
            slope = slope[:, 0, :width].view(count, 1, weights.shape[1], -1)
            steps = (weights * (vectors * slope).sum(dim=-1).mT).sum(dim=1)
            steps = steps * within(batch.lengths, time) / batch.inputs.shape[2]
            return Attribution(steps.unsqueeze(-1).expand_as(batch.inputs).contiguous())


def _watch(encoder: nn.Module, seen: dict[str, Tensor]) -> list[RemovableHandle]:
    """Make the encoder keep u and the vectors v_s in `seen`, until the handles are removed.

    Raises NotApplicable if the encoder has no attention.
    """

    def keep_input(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda module, inputs: seen.update({name: inputs[0]})

    def keep_values(module: nn.Module, inputs: tuple[Tensor], values: Tensor) -> None:
        seen["v"] = values

    if isinstance(encoder, AttentionModel) and encoder.attention != "multi_head":
        # u is the first part of what `combine` reads, and the states are the vectors v_s.
        return [
            encoder.combine.register_forward_pre_hook(keep_input("u")),
            encoder.from_key.register_forward_pre_hook(keep_input("v")),
        ]
    if isinstance(encoder, AttentionModel):
        join, value = encoder.join, encoder.from_value
    elif isinstance(encoder, Transformer | LSTMTransformer):
        last = cast("TransformerLayer", encoder.stack.layers[-1])
        join, value = last.join, last.value
    else:
        raise NotApplicable(f"{type(encoder).__name__} has no attention")
    return [
        join.register_forward_pre_hook(keep_input("u")),
        value.register_forward_hook(keep_values),
    ]
