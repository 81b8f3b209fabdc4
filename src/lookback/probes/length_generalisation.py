"""Length generalisation: skill on sequences longer than the training sequences.

The probe generates new data of the task with a multiple of the task's setting `length`. The skill
at each length is relative to the task's trivial baseline at the same length. The baseline is fitted
on the training split and evaluated on the test split, both with sequences of the measured length.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from lookback.data.task import SPLITS, Facts, Task
from lookback.errors import NotApplicable, UserError
from lookback.probes.batching import answers_to, batches, sequences_within
from lookback.runtime.settings import require_positive
from lookback.training.evaluate import scores_of
from lookback.training.run import Run
from lookback.training.skill import skill_of

BASELINE_STEPS = 200_000  # Time steps per generated split, enough to estimate the baseline score.


class LengthGeneralisation:
    """Skill on sequences k times as long as the training sequences, for each k in `factors`.

    For each length, the probe measures `sequences` test sequences. If these sequences have more
    than about `steps` time steps in total, the probe measures fewer sequences.
    """

    def __init__(self, factors: Sequence[int], sequences: int, steps: int):
        require_positive("probe", sequences=sequences, steps=steps, factors=min(factors, default=0))
        self.factors, self.sequences, self.steps = tuple(factors), sequences, steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Table of the skill at each sequence length, with one row per factor.

        Columns:
            factor: multiple of the training length (no unit).
            length: sequence length in steps.
            skill: mean over answers (no unit; 0 is the baseline, 1 is perfect).
            value: the task's metric; accuracy is a share, mean squared error is in squared units.
            reason: why the length could not be measured; missing if the measurement succeeded.

        Raises NotApplicable if the task has no setting `length`. Raises UserError if the data have
        changed since the training.
        """
        length = run.config["task"].get("length")
        if not isinstance(length, int):
            raise NotApplicable("the task's sequences cannot be made longer: it has no `length`")
        run.dataset("test")  # raises UserError if the data have changed since the training
        rows = []
        for factor in self.factors:
            row: dict[str, Any] = {"factor": factor, "length": factor * length}
            row |= {"skill": float("nan"), "value": float("nan"), "reason": None}
            try:
                row |= self._scores(run, factor * length)
            except (NotApplicable, UserError) as error:
                row["reason"] = f"at {factor} × {length} steps: {error}"
            rows.append(row)
        return pd.DataFrame(rows).astype({"reason": "str"})

    def _scores(self, run: Run, length: int) -> dict[str, float]:
        """Skill and metric of the model on test sequences of `length` steps."""
        task = self._task(run, length)
        facts, dataset = task.facts(), task.dataset("test")
        count = min(sequences_within(self.steps, length, self.sequences), len(dataset))
        asked = dataset.batch(slice(count))
        check_same_shape(facts, run.facts)
        answers = torch.cat(
            [answers_to(run.model, batch) for batch in batches(run.model, dataset, count)]
        )
        skill = skill_of(answers, asked, facts).nanmean().item()
        return {"skill": skill, "value": scores_of(answers, asked, facts).metric}

    def _task(self, run: Run, length: int) -> Task:
        """The task with sequences of `length` steps.

        Each split has only as many sequences as the probe and its baseline need.
        """
        size, settings = max(self.sequences, BASELINE_STEPS // length), run.config["task"]
        smaller = {split: min(size, settings[split]) for split in SPLITS if settings.get(split)}
        return run.task(length=length, **smaller)


def check_same_shape(facts: Facts, trained: Facts) -> None:
    """Raise NotApplicable if the task has more or fewer features or outputs than in training."""
    for name in ("features", "outputs"):
        size, trained_size = getattr(facts, name), getattr(trained, name)
        if size != trained_size:
            raise NotApplicable(f"the task has {size} {name} at this length, not {trained_size}")
