"""The adding problem against its definition, step by step."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.data.adding import Adding
from lookback.data.content import digest_of
from lookback.data.task import SPLITS
from lookback.errors import UserError


def small(length=11, seed=3):
    return Adding(length=length, train=200, validation=30, test=40, seed=seed, fresh=False)


def answer(sequence):
    """The target and the marked steps, by walking along one sequence (T, 2)."""
    total, steps = 0.0, []
    for step, (value, marker) in enumerate(sequence.tolist()):
        assert marker in (0.0, 1.0)
        if marker:
            total += value
            steps.append(step)
    return total, steps


@pytest.mark.parametrize("length", [2, 3, 11, 50])
def test_target_evidence_and_lag_are_those_of_a_walk_along_the_sequence(length):
    batch = small(length).dataset("test").batch(slice(None), evidence=True)
    for row, sequence in enumerate(batch.inputs):
        total, steps = answer(sequence)
        assert batch.target[row].item() == pytest.approx(total, abs=1e-6)
        assert batch.evidence[row, 0].nonzero().flatten().tolist() == steps
        assert batch.query[row].tolist() == [length - 1]
        assert batch.lag[row].tolist() == [length - 1 - steps[0]]
        assert batch.lengths[row] == length


def test_one_step_is_marked_in_each_half():
    batch = small(length=11).dataset("train").batch(slice(None), evidence=True)
    first, second = batch.evidence[:, 0, :5], batch.evidence[:, 0, 5:]
    assert (first.sum(1) == 1).all()
    assert (second.sum(1) == 1).all()
    assert first.any(0).all()  # every step of a half is marked somewhere
    assert second.any(0).all()


def test_values_outside_the_evidence_change_no_target():
    batch = small().dataset("train").batch(slice(None), evidence=True)
    redrawn = batch.inputs.clone()
    redrawn[..., 0] = torch.rand(redrawn.shape[:2], generator=torch.Generator().manual_seed(0))
    kept = batch.evidence[:, 0].unsqueeze(-1)
    redrawn = torch.where(kept, batch.inputs, redrawn)
    assert (redrawn != batch.inputs).any(-1).sum() == 200 * 9
    targets = [answer(sequence)[0] for sequence in redrawn]
    torch.testing.assert_close(batch.target.flatten(), torch.tensor(targets))


def test_values_are_uniform_and_the_mean_costs_a_sixth():
    task = Adding(length=20, train=20_000, validation=0, test=20_000, seed=0, fresh=False)
    values = task.dataset("train").inputs.abs().double()
    tenths = torch.histc(values.float(), bins=10, min=0, max=1) / values.numel()
    torch.testing.assert_close(tenths, torch.full((10,), 0.1), atol=3e-3, rtol=0)
    # the squared error of the mean has standard deviation 0.19 a sequence: 5 of them over √20,000
    assert task.facts().baselines["mean of the targets"] == pytest.approx(1 / 6, abs=0.007)


def test_no_sequence_is_in_two_splits_or_twice_in_one():
    task = small(length=3)
    rows = [
        hashlib.sha256(sequence.numpy().tobytes()).digest()
        for split in SPLITS
        for sequence in task.dataset(split).inputs
    ]
    assert len(set(rows)) == len(rows) == 270


def test_a_seed_says_everything_in_every_process():
    program = (
        "from lookback.data.adding import Adding; from lookback.data.content import digest_of;"
        "task = Adding(length=11, train=200, validation=30, test=40, seed=3, fresh=False);"
        "print(*(digest_of(task.dataset(s)) for s in ('train', 'validation', 'test')))"
    )
    command = [sys.executable, "-c", program]
    np.random.default_rng(0).random(5)
    torch.manual_seed(5)
    elsewhere = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for task, same in ((small(), True), (small(seed=4), False), (small(length=12), False)):
        here = [digest_of(task.dataset(split)) for split in SPLITS]
        assert [one == other for one, other in zip(here, elsewhere, strict=True)] == [same] * 3


def test_the_shipped_task_is_the_one_of_the_literature(config):
    facts = instantiate(config("task=adding")).facts()
    assert (facts.kind, facts.metric, facts.features, facts.outputs) == ("value", "mse", 2, 1)
    assert facts.length == 50
    assert facts.sizes == {"train": 9600, "validation": 1000, "test": 2000}
    assert not facts.higher_is_better


def test_a_sequence_too_short_for_two_marks_is_a_mistake():
    with pytest.raises(UserError, match="length: 1 is too short"):
        small(length=1)
