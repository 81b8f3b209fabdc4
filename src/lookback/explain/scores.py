"""Can an explanation be believed? Scores of attributions, each beside what a random one would get.

evidence_auc  Do the attributed steps hold the evidence? Area under the ROC curve of a step's
              strength Σ_f |value|, evidence against all other steps within the length: the share
              of (evidence, other) pairs in the right order. Random: 0.5. Only where a task knows
              its evidence.
deletion      Does the model need the attributed steps? How far the answer falls when the fifth of
              the steps with the largest attribution is replaced by the background's mean:
              «comprehensiveness», DeYoung et al. 2020 (ERASER), eq. 1. Random: the same number of
              random steps.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import answer, within
from lookback.models.network import Network

DELETED = 0.2  # share of the steps within the length
RANDOM_DRAWS = 8  # random rankings behind the chance level of `deletion`


@dataclass(frozen=True)
class Explained:
    """What was explained: one answer of each sequence of a batch that asks once (Q = 1).

    The batch's inputs are embedded; `output` is the class, or the number of the value.
    """

    model: Network
    batch: Batch
    kind: Literal["class", "value"]
    output: Int[Tensor, " batch"]
    background: Float[Tensor, "sequence time feature"]

    @torch.no_grad()
    def answered(self, inputs: Float[Tensor, "batch time feature"]) -> Float[Tensor, " batch"]:
        """The explained answer on other inputs: a probability, or a value."""
        answers = answer(self.model, inputs, self.batch.lengths, self.batch.query[:, 0])
        if self.kind == "class":
            answers = answers.softmax(dim=-1)
        return answers.gather(1, self.output.unsqueeze(1)).squeeze(1)


def scores(
    explained: Explained,
    values: Float[Tensor, "batch time feature"],
    generator: torch.Generator,
) -> pd.DataFrame:
    """Columns: score, value (mean over the sequences), chance (that of a random attribution)."""
    batch, rows = explained.batch, []
    if batch.evidence is not None:
        found = evidence_auc(values, batch.evidence[:, 0], within(batch.lengths, values.shape[1]))
        rows.append(("evidence_auc", found.nanmean().item(), 0.5))
    fall = deletion(explained, ranking(values, explained.kind))
    rows.append(("deletion", fall.mean().item(), random_deletion(explained, generator)))
    return pd.DataFrame(rows, columns=["score", "value", "chance"])


def evidence_auc(
    values: Float[Tensor, "batch time feature"],
    evidence: Bool[Tensor, "batch time"],
    inside: Bool[Tensor, "batch time"],
) -> Float[Tensor, " batch"]:
    """Mann and Whitney's U as a share, ties half; NaN where a sequence has no pair to order."""
    strength = values.abs().sum(dim=-1)
    areas = []
    # One sequence at a time: all pairs of all sequences at once are B × T² numbers.
    for steps, is_evidence, is_inside in zip(strength, evidence, inside, strict=True):
        positive = steps[is_evidence & is_inside].unsqueeze(1)
        other = steps[~is_evidence & is_inside]
        areas.append(((positive > other).double() + (positive == other).double() / 2).mean())
    return torch.stack(areas).float()


def ranking(
    values: Float[Tensor, "batch time feature"], kind: Literal["class", "value"]
) -> Float[Tensor, "batch time"]:
    """How much a step counts: for a class what speaks for it, for a value what moves it at all."""
    steps = values.sum(dim=-1)
    return steps if kind == "class" else steps.abs()


def deletion(explained: Explained, ranked: Float[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
    """The fall of a probability, or the change of a value, without the steps ranked highest."""
    inputs, lengths = explained.batch.inputs, explained.batch.lengths
    inside = within(lengths, inputs.shape[1])
    place = ranked.masked_fill(~inside, -torch.inf).argsort(dim=1, descending=True, stable=True)
    deleted = place.argsort(dim=1) < (DELETED * lengths).ceil().unsqueeze(1)
    without = torch.where(deleted.unsqueeze(-1), explained.background.mean(dim=0), inputs)
    fall = explained.answered(inputs) - explained.answered(without)
    return fall if explained.kind == "class" else fall.abs()


def random_deletion(explained: Explained, generator: torch.Generator) -> float:
    """Mean of `deletion` over sequences and over random rankings of the steps."""
    shape = (RANDOM_DRAWS, *explained.batch.inputs.shape[:2])
    rankings = torch.rand(shape, generator=generator).to(explained.batch.inputs.device)
    return torch.stack([deletion(explained, ranked) for ranked in rankings]).mean().item()
