"""What an explainer is: one Python file and one YAML in conf/explainer/."""

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
    # |Σ values − (output − output at the background)|, where the method promises it to be zero.
    error: Float[Tensor, " batch"] | None = None


@runtime_checkable  # so that the test run can check it
class Explainer(Protocol):
    """Attributes one answer of a model to its inputs."""

    sequences: int  # how many are explained, from the start of the test split

    def attribute(
        self,
        model: Network,
        batch: Batch,
        query: int,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Explain answer `output` of query number `query`, from embedded inputs and background.

        The model is in eval mode and stays so; its weights and their gradients stay untouched.
        Raises NotApplicable where the method makes no sense for the model.
        """


def answer(
    model: Network,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    step: Int[Tensor, " batch"],
) -> Float[Tensor, "batch output"]:
    """Logits or values at `step`, from embedded inputs: `Network.forward` past `embed`."""
    answers: Tensor = model.head(model.encoder(inputs, lengths, step.unsqueeze(1)))
    return answers[:, 0]


def within(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch time"]:
    """Which of `time` steps lie within each length."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)
