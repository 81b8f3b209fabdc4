import pytest
import torch
from torch.testing import assert_close

from lookback.data.batch import Batch
from lookback.data.task import Facts
from lookback.errors import NotApplicable
from lookback.training.skill import skill_of

SIZES = {"train": 1, "validation": 1, "test": 1}


def facts(kind: str, baseline: float) -> Facts:
    metric = "accuracy" if kind == "class" else "mse"
    return Facts(kind, False, 1, 4, 3, metric, baseline, "most frequent", SIZES)


def asked(query: list[list[int]], target: torch.Tensor) -> Batch:
    return Batch(
        torch.zeros(len(query), 4, 1), torch.tensor([4] * len(query)), torch.tensor(query), target
    )


def test_skill_of_classes_is_one_where_right_and_averages_to_zero_at_the_baselines_accuracy():
    """Of four answers one is right, as often as the baseline of 1/4 is."""
    answers = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])]
    batch = asked([[1, 3], [2, 3]], torch.tensor([[0, 0], [1, 0]]))
    skill = skill_of(answers, batch, facts("class", 0.25))
    assert_close(skill, torch.tensor([[1.0, -1 / 3], [-1 / 3, -1 / 3]]))
    assert_close(skill.mean(), torch.tensor(0.0))


def test_skill_of_values_is_one_minus_the_error_as_a_multiple_of_the_baselines():
    answers = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    batch = asked([[3], [3]], torch.tensor([[[1.0, 2.0]], [[1.0, 2.0]]]))
    skill = skill_of(answers, batch, facts("value", 0.5))
    assert_close(skill, torch.tensor([[1.0], [1 - 2.5 / 0.5]]))


def test_where_nothing_is_asked_there_is_no_skill():
    batch = asked([[3, -1]], torch.tensor([[2, 2]]))
    skill = skill_of(torch.zeros(1, 2, 3), batch, facts("class", 0.5))
    assert skill.isnan().tolist() == [[False, True]]


@pytest.mark.parametrize(("kind", "perfect"), [("class", 1.0), ("value", 0.0)])
def test_a_perfect_baseline_leaves_no_room_for_skill(kind, perfect):
    target = torch.zeros(1, 1, dtype=torch.long) if kind == "class" else torch.zeros(1, 1, 3)
    with pytest.raises(NotApplicable, match="most frequent, is already perfect"):
        skill_of(torch.zeros(1, 1, 3), asked([[3]], target), facts(kind, perfect))
