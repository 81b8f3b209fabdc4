from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from lookback.explain.scores import (
    Explained,
    deletion,
    random_deletion,
    ranking,
    scores,
)

from .known import asked, linear

LENGTHS = torch.tensor([10, 6, 9])
INSIDE = torch.arange(10) < LENGTHS[:, None]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explained_linear(weight, kind, output) -> Explained:
    inputs = drawn(3, 10, 1, seed=1).to(weight.dtype) * INSIDE.unsqueeze(-1)
    background = drawn(6, 10, 1, seed=2).to(weight.dtype)
    return Explained(linear(weight), asked(inputs, LENGTHS), kind, output, background)


def test_deletion_of_a_linear_value_is_the_sum_over_the_largest_fifth():
    weight = drawn(1, 10, 1, seed=3).double()
    explained = explained_linear(weight, "value", torch.zeros(3, dtype=torch.int64))
    values = weight * (explained.batch.inputs - explained.background.mean(0))
    found = deletion(explained, ranking(values, "value"))
    for row, (length, count) in enumerate([(10, 2), (6, 2), (9, 2)]):  # ⌈0.2 · length⌉
        parts = values[row, :length, 0].numpy()
        largest = np.argsort(-np.abs(parts))[:count]
        assert found[row].item() == pytest.approx(abs(parts[largest].sum()))


def test_deletion_of_a_class_is_the_fall_of_its_probability_without_what_speaks_for_it():
    weight, output = drawn(3, 10, 1, seed=3).double(), torch.tensor([2, 0, 1])
    explained = explained_linear(weight, "class", output)
    inputs, mean = explained.batch.inputs, explained.background.mean(0)
    values = weight[output] * (inputs - mean)
    found = deletion(explained, ranking(values, "class"))
    for row, length in enumerate(LENGTHS.tolist()):
        largest = np.argsort(-values[row, :length, 0].numpy())[:2]
        without = inputs[row].clone()
        without[largest] = mean[largest]
        before, after = (
            softmax([(w * x)[:length].sum().item() for w in weight])[output[row]]
            for x in (inputs[row], without)
        )
        assert found[row].item() == pytest.approx(before - after)


def test_chance_of_deletion_is_exact_where_all_steps_are_worth_the_same():
    explained = explained_linear(torch.ones(1, 10, 1), "value", torch.zeros(3, dtype=torch.int64))
    inputs = explained.background.mean(0) + INSIDE.unsqueeze(-1)
    same = Explained(
        explained.model,
        asked(inputs, LENGTHS),
        "value",
        explained.output,
        explained.background,
    )
    assert random_deletion(same, torch.Generator().manual_seed(0)) == pytest.approx(2, rel=1e-5)


def test_chance_of_deletion_repeats_with_the_generator_and_lies_below_the_best_ranking():
    weight = drawn(3, 10, 1, seed=3)
    explained = explained_linear(weight, "class", torch.tensor([2, 0, 1]))
    values = weight[explained.output] * (explained.batch.inputs - explained.background.mean(0))
    once, again = (
        scores(explained, values, {}, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert once.equals(again)
    assert once.score.tolist() == ["deletion"]  # no evidence, no score with evidence
    assert once.chance[0] < once.value[0]


def test_scores_with_evidence_leave_out_the_sequences_whose_class_is_wrong():
    """The attribution finds the evidence of the two right answers, and misses that of the third."""
    weight, output = drawn(3, 10, 1, seed=3).double(), torch.tensor([2, 0, 1])
    explained = explained_linear(weight, "class", output)
    evidence = torch.zeros(3, 1, 10, dtype=torch.bool)
    evidence[:, 0, 4] = True
    values = torch.zeros(3, 10, 1)
    values[:2, 4] = values[2, 5] = 1
    for target, area, share in (([2, 0, 2], 1.0, 2 / 3), ([2, 0, 1], (1 + 1 + 3.5 / 8) / 3, 1.0)):
        batch = replace(explained.batch, target=torch.tensor(target)[:, None], evidence=evidence)
        given = replace(explained, batch=batch), values, {}, torch.Generator().manual_seed(0)
        row = scores(*given).set_index("score").loc["evidence_auc"]
        assert row["value"] == pytest.approx(area)
        assert row["share"] == pytest.approx(share)
