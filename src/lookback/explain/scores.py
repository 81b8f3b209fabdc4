"""Scores of attributions, each beside the scores of a random attribution and of the controls.

evidence_auc  Do the attributed steps hold the evidence? The area under the ROC curve of the
              strength Σ_f |value| of a step, evidence steps against all other steps within the
              length. If one evidence step and one step without evidence are drawn at random, the
              area is the probability that the evidence step has the larger Σ_f |value|. The chance
              level is an area of 0.5. The score `evidence_auc` exists only for tasks that say which
              steps are evidence.
deletion      Does the model need the attributed steps? The drop of the answer when the fifth of the
              steps with the largest attribution is replaced by the background's mean. The score
              `deletion` is the «comprehensiveness» of [deyoung2020], equation 1. The chance level
              of `deletion` is the drop of the answer when the replaced steps are chosen at random.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.explain.base import answer, within
from lookback.explain.controls import NAMES
from lookback.models.network import Network

DELETED = 0.2  # Share of the steps within a sequence's length that `deletion` replaces.
RANDOM_DRAWS = 8  # Number of random rankings whose mean score is the chance level of `deletion`.


@dataclass(frozen=True)
class Explained:
    """The explained answers, one per sequence of a batch with one query per sequence (Q = 1).

    The inputs in `batch` are embedded. `output` is the number of the class or of the value.
    """

    model: Network
    batch: Batch
    kind: Literal["class", "value"]
    output: Int[Tensor, " batch"]
    background: Float[Tensor, "sequence time feature"]

    def first(self, count: int) -> "Explained":
        """The first `count` explained answers."""
        return replace(self, batch=self.batch.first(count), output=self.output[:count])

    @torch.no_grad()
    def answered(self, inputs: Float[Tensor, "batch time feature"]) -> Float[Tensor, " batch"]:
        """The explained answer (a probability or a value) for changed inputs of the model."""
        answers = answer(self.model, inputs, self.batch.lengths, self.batch.query)
        if self.kind == "class":
            answers = answers.softmax(dim=-1)
        return answers.gather(1, self.output.unsqueeze(1)).squeeze(1)


def scores(
    explained: Explained,
    values: Float[Tensor, "batch time feature"],
    controls: Mapping[str, Float[Tensor, "batch time _"]],
    generator: torch.Generator,
) -> pd.DataFrame:
    """Table of all scores, each a mean over sequences. One row per score.

    A control that has only the first sequences is scored on them.

    Columns:
        score: name of the score, "evidence_auc" or "deletion".
        value: score of `values`.
        chance: score of a random attribution.
        position, magnitude, untrained, oracle: scores of `controls` (controls.py), NaN if missing.
    """
    attributions, rows = {"value": values, **controls}, list[dict[str, str | float]]()
    evidence, lengths = explained.batch.evidence, explained.batch.lengths
    if evidence is not None:
        inside = within(lengths, values.shape[1])
        areas = {
            name: evidence_auc(part, evidence[: len(part), 0], inside[: len(part)]).nanmean().item()
            for name, part in attributions.items()
        }
        rows.append({"score": "evidence_auc", "chance": 0.5, **areas})
    drops = {
        name: deletion(explained.first(len(part)), ranking(part, explained.kind)).mean().item()
        for name, part in attributions.items()
    }
    chance = random_deletion(explained, generator)
    rows.append({"score": "deletion", "chance": chance, **drops})
    return pd.DataFrame(rows, columns=["score", "value", "chance", *NAMES])


def evidence_auc(
    values: Float[Tensor, "batch time feature"],
    evidence: Bool[Tensor, "batch time"],
    inside: Bool[Tensor, "batch time"],
) -> Float[Tensor, " batch"]:
    """Area under the ROC curve that separates evidence steps from steps without evidence.

    The area is the share of pairs (one evidence step, one step without evidence) in which the
    evidence step has the larger Σ_f |value|, where equal values count half. This share is the
    normalised Mann–Whitney U statistic. The area is NaN if all steps of a sequence are evidence, or
    if none is.
    """
    strength = values.abs().sum(dim=-1)
    areas = []
    # The loop takes one sequence at a time, because the pairs of a batch may not fit in memory.
    for steps, is_evidence, is_inside in zip(strength, evidence, inside, strict=True):
        positive = steps[is_evidence & is_inside].unsqueeze(1)
        other = steps[~is_evidence & is_inside]
        areas.append(((positive > other).double() + (positive == other).double() / 2).mean())
    return torch.stack(areas).float()


def ranking(
    values: Float[Tensor, "batch time feature"], kind: Literal["class", "value"]
) -> Float[Tensor, "batch time"]:
    """The strength of each step, by which the steps are ranked.

    In a classification task, the strength is the sum of the attributions over the features of the
    step. In a regression task, the strength is the absolute value of this sum.
    """
    steps = values.sum(dim=-1)
    return steps if kind == "class" else steps.abs()


def deletion(explained: Explained, ranked: Float[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
    """How much the explained answer changes if the highest-ranked steps are replaced.

    The result is the drop of the class's probability in a classification task, and the absolute
    change of the value in a regression task.
    """
    inputs, lengths = explained.batch.inputs, explained.batch.lengths
    inside = within(lengths, inputs.shape[1])
    place = ranked.masked_fill(~inside, -torch.inf).argsort(dim=1, descending=True, stable=True)
    deleted = place.argsort(dim=1) < (DELETED * lengths).ceil().unsqueeze(1)
    without = torch.where(deleted.unsqueeze(-1), explained.background.mean(dim=0), inputs)
    drop = explained.answered(inputs) - explained.answered(without)
    return drop if explained.kind == "class" else drop.abs()


def random_deletion(explained: Explained, generator: torch.Generator) -> float:
    """Mean of the score `deletion` over sequences and over random rankings of the steps."""
    shape = (RANDOM_DRAWS, *explained.batch.inputs.shape[:2])
    rankings = torch.rand(shape, generator=generator).to(explained.batch.inputs.device)
    return torch.stack([deletion(explained, ranked) for ranked in rankings]).mean().item()
