"""How much context it uses: skill where all but the last k steps before the query are replaced.

Khandelwal et al. 2018, "Sharp nearby, fuzzy far away", section 4, for any task and model: k counts
the answering step itself; earlier steps are those of another test sequence, at the same places. A
donor that is too short is read again from its start.

    kept      k = 3      a b c d [e f g]  ?     asked at g
    replaced             r s t u [e f g]  ?     r s t u v w x is another sequence

Each sequence has one donor for all k, so that two contexts differ in the steps between them alone.
Sequences that ask often are asked once, at their last query.
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
    """Fewer than `sequences` where they are long: about `steps` of them together."""

    def __init__(self, sequences: int, steps: int, contexts: int):
        require_positive("probe", sequences=sequences, steps=steps, contexts=contexts)
        self.sequences, self.steps, self.contexts = sequences, steps, contexts

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row a context. Columns: context (steps kept, the last row: all), skill (the mean).

        Raises NotApplicable where the split has no second sequence to draw from.
        """
        dataset = run.task().dataset("test")
        time = dataset.inputs.shape[1]
        count = min(sequences_within(self.steps, time, self.sequences), len(dataset))
        if count < 2:
            raise NotApplicable("the test split has no second sequence to replace steps by")
        donor = donors(count, generator)
        longest = int(dataset.query[:count].max()) + 1
        skills: dict[int, list[Tensor]] = {k: [] for k in spaced(longest, self.contexts)}
        start = 0
        for batch in batches(run.model, dataset, count):
            other = dataset.batch(donor[start : start + len(batch.query)])
            start += len(batch.query)
            asked = batch.asked_last()
            for context, found in skills.items():
                shown = cut(asked, other, context)
                found.append(skill_of(answers_to(run.model, shown), shown, run.facts))
        means = [torch.cat(found).nanmean().item() for found in skills.values()]
        return pd.DataFrame({"context": list(skills), "skill": means})


def donors(count: int, generator: torch.Generator) -> Int[Tensor, " batch"]:
    """For each of `count` sequences another one; each gives once."""
    order = torch.randperm(count, generator=generator)
    donor = torch.empty_like(order)
    donor[order] = order.roll(1)
    return donor


def cut(batch: Batch, other: Batch, context: int) -> Batch:
    """The batch (Q = 1) with all but the last `context` steps up to its query from `other`."""
    step = torch.arange(batch.inputs.shape[1])
    wrapped = step % other.lengths.unsqueeze(1)
    given = other.inputs[torch.arange(len(wrapped)).unsqueeze(1), wrapped]
    replaced = step <= batch.query - context
    shape = replaced.shape + (1,) * (batch.inputs.dim() - 2)
    return replace(batch, inputs=torch.where(replaced.view(shape), given, batch.inputs))


def spaced(longest: int, contexts: int) -> list[int]:
    """At most so many contexts, from 1 to `longest`, evenly spaced in their logarithm."""
    points = np.geomspace(1, longest, contexts).round().astype(int)
    return [int(point) for point in np.unique(points)]
