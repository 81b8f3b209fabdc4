"""How well it recalls, by how long ago: the skill of each answer beside its lag.

The lag of an answer is the number of steps from the earliest evidence to the query. Its skill is 0
for the trivial baseline's average, 1 for a right answer (training/skill.py). The memory horizon is
read off these rows by summarise/horizon.py.
"""

import pandas as pd
import torch

from lookback.errors import NotApplicable
from lookback.probes.batching import answers_to, batches
from lookback.runtime.settings import require_positive
from lookback.training.run import Run
from lookback.training.skill import skill_of


class RecallByLag:
    """All answers of a part of the test split."""

    def __init__(self, sequences: int):
        require_positive("probe", sequences=sequences)
        self.sequences = sequences

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row an answer that has a lag. Columns: sequence, lag (steps), skill.

        The sequences are the first of the split, the same for every seed and model.
        Raises NotApplicable where the task knows no lag.
        """
        dataset = run.task().dataset("test")
        if dataset.lag is None or not ((dataset.lag >= 0) & (dataset.query >= 0)).any():
            raise NotApplicable("the task does not know how long ago its evidence was")
        parts, start = [], 0
        for batch in batches(run.model, dataset, self.sequences):
            skill = skill_of(answers_to(run.model, batch), batch, run.facts)
            assert batch.lag is not None
            known = (batch.query >= 0) & (batch.lag >= 0)
            columns = {"sequence": known.nonzero()[:, 0] + start, "lag": batch.lag[known]}
            columns["skill"] = skill[known].double()
            parts.append(pd.DataFrame({name: each.numpy() for name, each in columns.items()}))
            start += len(batch.query)
        return pd.concat(parts, ignore_index=True)
