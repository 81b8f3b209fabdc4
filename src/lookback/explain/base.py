"""Interface of an explainer.

Each explainer consists of one Python file in this folder and one YAML file in conf/explainer/.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.models.network import Network


@dataclass(frozen=True)
class Attribution:
    """Signed contribution of each input value to the explained output, and zero at padded steps."""

    values: Float[Tensor, "batch time feature"]
    # Error |Σ values − the sum that the method promises| of each sequence. Most methods promise the
    # change of the output from the baseline to the inputs. None if the method promises no sum.
    error: Float[Tensor, " batch"] | None = None
    baseline: str = ""  # name of the baseline, as in baselines.py; "" if the method has none
    standard_error: Float[Tensor, "batch time feature"] | None = None  # of a random estimate
    # |output − output at the baseline| of each sequence, if the method measures its gap by it.
    change: Float[Tensor, " batch"] | None = None

    @property
    def gap(self) -> Float[Tensor, " batch"] | None:
        """The error as a share of the change of the output; None if one of them is not known."""
        if self.error is None or self.change is None:
            return None
        return self.error / self.change.clamp(min=torch.finfo(self.change.dtype).tiny)


@runtime_checkable  # The tests need this decorator to check types by isinstance().
class Explainer(Protocol):
    """Attributes one answer of a model to the model's inputs.

    Call an explainer through `attribution_of`.
    """

    sequences: int  # Number of explained sequences, taken from the start of the test split.

    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute the answer `output` of each sequence to its embedded inputs.

        The batch has one query per sequence (Q = 1). `output` is the number of the class or of the
        value. `background` holds embedded training sequences. The model is in eval mode. The method
        must not change the mode, the weights or the weight gradients of the model.

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
    """Return the attribution that `explainer` computes for a model in eval mode, on any device.

    The function turns cuDNN off, because cuDNN cannot compute the backward pass of a recurrent
    module in eval mode. Train mode is no alternative, because it turns dropout on and so changes
    the explained function.
    """
    with torch.backends.cudnn.flags(enabled=False):
        return explainer.attribute(model, batch, output, background=background, generator=generator)


def answer(
    model: Network,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    query: Int[Tensor, "batch 1"],
) -> Float[Tensor, "batch output"]:
    """The logits or values at the single query of each sequence, computed from embedded inputs."""
    answers: Tensor = model.head(model.encoder(inputs, lengths, query))
    return answers[:, 0]


def explained_answer(
    model: Network,
    batch: Batch,
    output: Int[Tensor, " batch"],
    inputs: Float[Tensor, "batch time feature"],
) -> Float[Tensor, " batch"]:
    """The answer `output` of each sequence, if `inputs` take the place of the batch's inputs."""
    answers = answer(model, inputs, batch.lengths, batch.query)
    return answers.gather(1, output.unsqueeze(1)).squeeze(1)


def within(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch time"]:
    """Boolean mask of the time steps that lie within the length of their sequence."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)
