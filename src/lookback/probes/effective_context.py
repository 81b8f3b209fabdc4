"""Effective context: skill of the model if only the last k steps before the answer are kept.

The probe keeps the inputs of the last k steps up to the query. The probe replaces all inputs before
these k steps by inputs of another test sequence, the donor. The method is from [khandelwal2018],
section 4, and the probe applies it to any task and model. The step of the query counts as one of
the k kept steps. The input of a replaced step is the donor's input at the same time step. If the
donor sequence is too short, its inputs are repeated from its start.

    kept      k = 3      a b c d [e f g]  ?     query at g
    replaced             r s t u [e f g]  ?     r s t u v w x is the donor

Each sequence has the same donor for all k, so the inputs for two values of k differ only in the
steps that exactly one of the two values keeps. If a sequence has several queries, the probe uses
only the last query of the sequence.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.probes.batching import answers_to, batches, sequences_within
from lookback.runtime.settings import require_positive
from lookback.training.run import Run
from lookback.training.skill import skill_of


class EffectiveContext:
    """Skill of a model as a function of the context length, for at most `contexts` lengths.

    The probe measures the first `sequences` test sequences. If these sequences have more than about
    `steps` time steps in total, the probe measures fewer sequences.
    """

    def __init__(self, sequences: int, steps: int, contexts: int):
        require_positive("probe", sequences=sequences, steps=steps, contexts=contexts)
        self.sequences, self.steps, self.contexts = sequences, steps, contexts

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of the mean skill of the model, with one row per context length.

        Columns:
            context: number of steps kept; the last row keeps all steps up to the query.
            skill: mean over sequences (no unit; 0 is the trivial baseline, 1 is perfect).

        Raises NotApplicable if the probe has fewer than two sequences, because a single sequence
        has no donor.
        """
        dataset = run.dataset("test")
        time = dataset.inputs.shape[1]
        count = min(sequences_within(self.steps, time, self.sequences), len(dataset))
        if count < 2:
            raise NotApplicable(
                "the test split has no second sequence to take replacement steps from"
            )
        donor_index = donors(count, generator)
        longest = int(dataset.query[:count].max()) + 1
        skills: dict[int, list[Tensor]] = {k: [] for k in spaced(longest, self.contexts)}
        start = 0
        for batch in batches(run.model, dataset, count):
            donor = dataset.batch(donor_index[start : start + len(batch.query)])
            start += len(batch.query)
            asked = batch.asked_last()
            for context, batch_skills in skills.items():
                changed = with_context(asked, donor, context)
                batch_skills.append(skill_of(answers_to(run.model, changed), changed, run.facts))
        means = [torch.cat(batch_skills).nanmean().item() for batch_skills in skills.values()]
        return pd.DataFrame({"context": list(skills), "skill": means})


def donors(count: int, generator: torch.Generator) -> Int[Tensor, " batch"]:
    """Index of a random donor sequence for each of `count` sequences.

    No sequence is its own donor, and each sequence is the donor of exactly one other sequence.
    """
    order = torch.randperm(count, generator=generator)
    donor_index = torch.empty_like(order)
    donor_index[order] = order.roll(1)
    return donor_index


def with_context(batch: Batch, donor: Batch, context: int) -> Batch:
    """Keep the last `context` inputs up to the query and take all earlier inputs from `donor`.

    `batch` has one query per sequence (Q = 1). The step of the query counts as one of the `context`
    steps. The inputs after the query do not change.
    """
    step = torch.arange(batch.inputs.shape[1])
    wrapped = step % donor.lengths.unsqueeze(1)
    replacement = donor.inputs[torch.arange(len(wrapped)).unsqueeze(1), wrapped]
    replaced = step <= batch.query - context
    shape = replaced.shape + (1,) * (batch.inputs.dim() - 2)
    return replace(batch, inputs=torch.where(replaced.view(shape), replacement, batch.inputs))


def spaced(longest: int, contexts: int) -> list[int]:
    """At most `contexts` context lengths from 1 to `longest`, evenly spaced on a log scale."""
    points = np.geomspace(1, longest, contexts).round().astype(int)
    return [int(point) for point in np.unique(points)]
