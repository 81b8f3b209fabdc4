import pytest
import torch

from lookback.errors import NotApplicable, UserError
from lookback.probes.recall_by_lag import RecallByLag
from lookback.summarise.quantities.memory_horizon import memory_horizon
from lookback.training.run import load_runs
from tests.cells import GRU, MARKED, write_cell

from .runs import Recall, reading, recall, run_of

TASK = recall(length=9, lag=3, test=12)


def measured(network, sequences=100):
    return RecallByLag(sequences).measure(run_of(TASK, network), generator=torch.Generator())


def test_a_model_that_reads_the_evidence_has_skill_one_at_every_asked_query():
    frame = measured(reading(3))
    data = Recall(length=9, lag=3, test=12).dataset("test")
    assert (frame.skill == 1).all()
    assert (frame.lag == 3).all()
    assert frame.sequence.tolist() == (data.query >= 0).nonzero()[:, 0].tolist()


def test_a_model_that_reads_another_step_is_as_good_as_the_baseline():
    """One answer in four is right by chance, as the baseline's is."""
    frame = measured(reading(2))
    assert set(frame.skill.round(6)) == {1.0, round(-1 / 3, 6)}
    data = Recall(length=9, lag=3, test=12).dataset("test")
    by_hand = [
        1.0 if data.inputs[row, step - 2] == data.inputs[row, step - 3] else -1 / 3
        for row in range(12)
        for step in range(3, int(data.lengths[row]))
    ]
    assert frame.skill.tolist() == pytest.approx(by_hand)


def test_only_the_first_sequences_are_asked_and_the_horizon_reads_the_rows():
    frame = measured(reading(3), sequences=5)
    assert set(frame.sequence) == set(range(5))
    assert memory_horizon(frame.assign(seed=0))[0::3] == (3.0, True)


def test_a_task_without_lags_has_no_recall_by_lag(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    with pytest.raises(NotApplicable, match="how long ago"):
        RecallByLag(5).measure(run, generator=torch.Generator())


def test_no_sequences_are_a_mistake():
    with pytest.raises(UserError, match="`sequences` is 0"):
        RecallByLag(0)
