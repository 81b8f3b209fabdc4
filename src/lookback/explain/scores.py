"""Scores of attributions, each beside the scores of a random attribution and of the controls.

deletion  Does the model need the attributed steps? The drop of the answer when the fifth of the
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
from lookback.explain.evidence_scores import NAMES as NAMES_WITH_EVIDENCE
from lookback.explain.evidence_scores import evidence_scores
from lookback.models.network import Network

DELETED = 0.2  # Share of the steps within a sequence's length that `deletion` replaces.
RANDOM_DRAWS = 8  # Number of random attributions whose mean score is the chance level.


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

    def is_right(self) -> Bool[Tensor, " batch"]:
        """Whether each explained class is the target. All values count as right."""
        if self.kind == "value":
            return torch.ones_like(self.output, dtype=torch.bool)
        return self.output == self.batch.target[:, 0]

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

    A class is explained only where it is right: the evidence says nothing of a wrong answer, so the
    scores with evidence leave wrong answers out. A control that has only the first sequences is
    scored on them.

    Columns:
        score: name of the score, as in evidence_scores.py, or "deletion".
        value: score of `values`.
        chance: score of a random attribution.
        position, magnitude, untrained, oracle: scores of `controls` (controls.py), NaN if missing.
        share: share of the sequences that the score takes.
    """
    attributions, rows = {"value": values, **controls}, list[dict[str, str | float]]()
    is_right = explained.is_right()
    if explained.batch.evidence is not None:
        found = {
            name: with_evidence(explained.first(len(part)), part)
            for name, part in attributions.items()
        }
        found["chance"] = random_with_evidence(explained, generator)
        share = is_right.double().mean().item()
        rows += [
            {"score": score, "share": share} | {name: of[score] for name, of in found.items()}
            for score in NAMES_WITH_EVIDENCE
        ]
    drops = {
        name: deletion(explained.first(len(part)), ranking(part, explained.kind)).mean().item()
        for name, part in attributions.items()
    }
    chance = random_deletion(explained, generator)
    rows.append({"score": "deletion", "chance": chance, "share": 1.0, **drops})
    return pd.DataFrame(rows, columns=["score", "value", "chance", *NAMES, "share"])


def with_evidence(explained: Explained, values: Float[Tensor, "batch time _"]) -> dict[str, float]:
    """The mean of each score with evidence over the sequences whose answers are right."""
    evidence = explained.batch.evidence
    assert evidence is not None
    inside, is_right = within(explained.batch.lengths, values.shape[1]), explained.is_right()
    if not is_right.any():
        return dict.fromkeys(NAMES_WITH_EVIDENCE, torch.nan)
    found = evidence_scores(values[is_right], evidence[is_right, 0], inside[is_right])
    return {name: areas.nanmean().item() for name, areas in found.items()}


def random_with_evidence(explained: Explained, generator: torch.Generator) -> dict[str, float]:
    """The mean of each score with evidence over random attributions; 0.5 for `evidence_auc`."""
    shape = (RANDOM_DRAWS, *explained.batch.inputs.shape[:2], 1)
    drawn = torch.rand(shape, generator=generator).to(explained.batch.inputs.device)
    frame = pd.DataFrame([with_evidence(explained, values) for values in drawn])
    return {**{str(name): float(mean) for name, mean in frame.mean().items()}, "evidence_auc": 0.5}


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
