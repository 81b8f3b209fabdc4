"""What an explainer is: one Python file, and one YAML in conf/explainer/."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.models.network import Network


@dataclass(frozen=True)
class Attribution:
    """How much each input value speaks for the explained output: signed, zero past `lengths`."""

    values: Float[Tensor, "batch time feature"]
    # |Σ values − (output − output at the background)|, if the method promises that it is zero.
    error: Float[Tensor, " batch"] | None = None


@runtime_checkable  # so that the test run can check it
class Explainer(Protocol):
    """Attributes one answer of a model to its inputs. Call it through `attribution_of`."""

    sequences: int  # the number of explained sequences, from the start of the test split

    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Explain the answer `output` of each sequence, from embedded inputs and background.

        The batch asks one query per sequence (Q = 1). `output` is the number of the class or of
        the value. The model is in eval mode. The method must not change the model: its mode, its
        weights and their gradients stay as they are.
        Raises NotApplicable if the method has no meaning for the model.
        """


def attribution_of(
    explainer: Explainer,
    model: Network,
    batch: Batch,
    output: Int[Tensor, " batch"],
    *,
    background: Float[Tensor, "sequence time feature"],
    generator: torch.Generator,
) -> Attribution:
    """What `explainer.attribute` returns for a model in eval mode, on any device.

    cuDNN cannot compute the backward pass of a recurrent module in eval mode. Train mode would turn
    dropout on, and the explained function would be another one. So cuDNN is off for this call.
    """
    with torch.backends.cudnn.flags(enabled=False):
        return explainer.attribute(model, batch, output, background=background, generator=generator)


def answer(
    model: Network,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    query: Int[Tensor, "batch 1"],
) -> Float[Tensor, "batch output"]:
    """The logits or values at the single query of each sequence, from embedded inputs."""
    answers: Tensor = model.head(model.encoder(inputs, lengths, query))
    return answers[:, 0]


def within(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch time"]:
    """Whether each of `time` steps is within the length of its sequence."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)
