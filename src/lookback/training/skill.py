"""The skill of an answer is its quality relative to the task's baseline, comparable across tasks.

skill = (right − b) / (1 − b)          for a class; right is 0 or 1, b the baseline's accuracy
skill = 1 − (squared error) / b        for a value; b the baseline's mean squared error

The baseline is the strongest answer that shows no memory of the evidence, such as the most frequent
class or a shortcut of the task (data/baselines.py). The mean skill is 0 for the baseline, 1 for
perfect answers, and negative for answers worse than the baseline.
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
    """The skill of the answer to each query, and NaN for padding queries (query = −1).

    Raises NotApplicable if the baseline is already perfect, because the formula of the skill would
    divide by 0.
    """
    best_score = 1.0 if facts.metric == "accuracy" else 0.0
    if facts.baseline == best_score:
        raise NotApplicable(f"the task's baseline, {facts.baseline_name}, is already perfect")
    if facts.kind == "class":
        right = (choice(answers) == asked.target).to(answers.dtype)
        skill = (right - facts.baseline) / (1 - facts.baseline)
    else:
        skill = 1 - (answers - asked.target).square().mean(dim=-1) / facts.baseline
    return skill.masked_fill(asked.query < 0, torch.nan)
