"""Recall by lag: the skill of each answer, by how many steps ago its evidence was.

The lag of an answer is the number of steps from its earliest evidence (an input that decides the
answer) to the query. The mean skill of the trivial baseline is 0, and the skill of a correct answer
is 1 (training/skill.py). summarise/quantities/memory_horizon.py computes the memory horizon from
the table of this probe.
"""

import pandas as pd
import torch

from lookback.errors import NotApplicable
from lookback.probes.batching import answers_to, batches
from lookback.runtime.settings import require_positive
from lookback.training.run import Run
from lookback.training.skill import skill_of


class RecallByLag:
    """Skill and lag of all answers of a model to the first `sequences` test sequences."""

    def __init__(self, sequences: int):
        require_positive("probe", sequences=sequences)
        self.sequences = sequences

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of skills and lags, with one row per answer that has a lag.

        Columns:
            sequence: index in the test split; the same sequences for every seed and model.
            lag: steps from the earliest evidence to the query.
            skill: no unit; 0 is the trivial baseline, 1 is perfect.
            threshold: the task's threshold of skill, at which the memory horizon ends.

        Raises NotApplicable if the task does not define the lag of an answer.
        """
        dataset = run.dataset("test")
        if dataset.lag is None or not ((dataset.lag >= 0) & (dataset.query >= 0)).any():
            raise NotApplicable("the task does not know how long ago its evidence was")
        frames, start = [], 0
        for batch in batches(run.model, dataset, self.sequences):
            skill = skill_of(answers_to(run.model, batch), batch, run.facts)
            assert batch.lag is not None
            has_lag = (batch.query >= 0) & (batch.lag >= 0)
            columns = {"sequence": has_lag.nonzero()[:, 0] + start, "lag": batch.lag[has_lag]}
            columns["skill"] = skill[has_lag].double()
            frames.append(pd.DataFrame({name: values.numpy() for name, values in columns.items()}))
            start += len(batch.query)
        return pd.concat(frames, ignore_index=True).assign(threshold=run.facts.threshold)
