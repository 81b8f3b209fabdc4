"""Controls: attributions that know nothing of the trained model, or nothing of the sequence.

A task on which a control scores like an explainer cannot show that the explainer is right.

position   The mean |value| that the same explainer gives to a step and feature of the other
           explained sequences. It knows where the explainer usually looks, but not this sequence.
magnitude  |x|, the size of each embedded input value. It knows the sequence, but not the model.
untrained  The same explainer on the network before training, for the same class or value. This
           control is the strictest randomisation of parameters in [adebayo2018]. To save time, it
           explains only the first UNTRAINED sequences.
oracle     1 at each evidence step and 0 at all others, if the evidence is known. No explanation of
           a model that uses all evidence and nothing else should score better.

The fifth control is a random attribution, which each score computes itself (scores.py).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import Explainer, attribution_of, within
from lookback.models.network import Network

UNTRAINED = 16

NAMES = ("position", "magnitude", "untrained", "oracle")


def controls(
    explainer: Explainer,
    values: Float[Tensor, "batch time feature"],
    batch: Batch,
    untrained: tuple[Network, Batch, Float[Tensor, "sequence time feature"]],
    output: Int[Tensor, " batch"],
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "_ time _"]]:
    """The attributions of all controls of the explainer, which gave `values`, by name.

    `batch` holds the inputs that the trained network embeds. `untrained` is the network before
    training, with the batch and the background that this network embeds. The control «untrained»
    has only the first sequences, and the control «oracle» is missing if the evidence is unknown.
    """
    network, its_batch, its_background = untrained
    attribution = attribution_of(
        explainer,
        network,
        its_batch.first(UNTRAINED),
        output[:UNTRAINED],
        background=its_background,
        generator=generator,
    )
    found = {
        "position": position(values, within(batch.lengths, values.shape[1])),
        "magnitude": batch.inputs.abs(),
        "untrained": attribution.values,
    }
    if batch.evidence is not None:
        found["oracle"] = batch.evidence[:, 0].unsqueeze(-1).to(values)
    return found


def position(
    values: Float[Tensor, "batch time feature"], inside: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch time feature"]:
    """The mean |value| of the other sequences at each step that lies within their length.

    A step that no other sequence has is zero, as are all steps past the length of a sequence.
    """
    strength, is_inside = values.abs(), inside.unsqueeze(-1)
    others = strength.sum(dim=0) - strength
    counts = is_inside.sum(dim=0) - is_inside.int()
    return (others / counts.clamp(min=1)).masked_fill(~is_inside, 0.0)
