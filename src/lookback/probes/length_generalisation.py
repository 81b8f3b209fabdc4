"""How well it does on longer sequences than it was trained on.

The task is made anew with its `length` multiplied. Skill is against that length's own baseline: the
best constant answer, fitted on that length's training split, judged on its test split.
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

BASELINE_STEPS = 200_000  # of a split that the baseline is fitted or judged on: generated only


class LengthGeneralisation:
    """Fewer than `sequences` where they are long: about `steps` of a length together."""

    def __init__(self, factors: Sequence[int], sequences: int, steps: int):
        require_positive("probe", sequences=sequences, steps=steps, factors=min(factors, default=0))
        self.factors, self.sequences, self.steps = tuple(factors), sequences, steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row a factor. Columns: factor, length, skill, value (the task's metric), reason.

        `reason` says why a length could not be measured, and is None where it was.
        Raises NotApplicable where the task has no setting `length`.
        """
        length = run.config["task"].get("length")
        if not isinstance(length, int):
            raise NotApplicable("the task's sequences cannot be made longer: it has no `length`")
        rows = []
        for factor in self.factors:
            row: dict[str, Any] = {"factor": factor, "length": factor * length}
            row |= {"skill": float("nan"), "value": float("nan"), "reason": None}
            try:
                row |= self._measured(run, factor * length)
            except (NotApplicable, UserError) as refused:
                row["reason"] = f"at {factor} × {length} steps: {refused}"
            rows.append(row)
        return pd.DataFrame(rows).astype({"reason": "str"})

    def _measured(self, run: Run, length: int) -> dict[str, float]:
        task = self._task(run, length)
        facts, dataset = task.facts(), task.dataset("test")
        count = min(sequences_within(self.steps, length, self.sequences), len(dataset))
        asked = dataset.batch(slice(count))
        check_same_shape(facts, run.facts)
        answers = torch.cat([answers_to(run.model, b) for b in batches(run.model, dataset, count)])
        skill = skill_of(answers, asked, facts).nanmean().item()
        return {"skill": skill, "value": scores_of(answers, asked, facts).metric}

    def _task(self, run: Run, length: int) -> Task:
        """The task at this length, its splits no larger than the baseline asks for."""
        size, own = max(self.sequences, BASELINE_STEPS // length), run.config["task"]
        smaller = {split: min(size, own[split]) for split in SPLITS if own.get(split)}
        return run.task(length=length, **smaller)


def check_same_shape(facts: Facts, trained: Facts) -> None:
    """Raise NotApplicable where a longer task has inputs or outputs of another shape."""
    for name in ("features", "outputs"):
        found, had = getattr(facts, name), getattr(trained, name)
        if found != had:
            raise NotApplicable(f"the task has {found} {name} there, not {had}")
