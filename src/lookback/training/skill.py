"""How good an answer is beside the trivial one, on one scale for all tasks: 0 to 1.

skill = (right − b) / (1 − b)          of a class; right is 0 or 1, b the accuracy of the baseline
skill = 1 − (squared error) / b        of a value; b the squared error of the baseline

The mean over answers is 0 for the trivial baseline, 1 for perfect answers, below 0 for worse ones.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.task import Facts
from lookback.errors import NotApplicable
from lookback.training.evaluate import choice


def skill_of(
    answers: Float[Tensor, "batch query output"], asked: Batch | SequenceDataset, facts: Facts
) -> Float[Tensor, "batch query"]:
    """The skill of each answer, NaN where nothing is asked (query −1).

    Raises NotApplicable where the trivial answer is perfect, so that none can be better.
    """
    best = facts.metric == "accuracy"
    if facts.baseline == float(best):
        raise NotApplicable(f"the task's baseline, {facts.baseline_name}, is already perfect")
    if facts.kind == "class":
        right = (choice(answers) == asked.target).to(answers.dtype)
        skill = (right - facts.baseline) / (1 - facts.baseline)
    else:
        skill = 1 - (answers - asked.target).square().mean(dim=-1) / facts.baseline
    return skill.masked_fill(asked.query < 0, torch.nan)
