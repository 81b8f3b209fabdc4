import pytest
import torch

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.models.network import build_network
from lookback.probes.effective_context import EffectiveContext, donors, spaced, with_context
from lookback.training.skill import skill_of
from tests.cells import INITIALISATION
from tests.models.cases import shipped

from .runs import Recall, reading, recall, run_of

TASK = recall(length=40, lag=5, test=300)


def measured(network, task=TASK, **settings):
    probe = EffectiveContext(**{"sequences": 300, "steps": 10**6, "contexts": 40, **settings})
    return probe.measure(run_of(task, network), generator=torch.Generator().manual_seed(0))


def test_a_model_that_reads_five_steps_back_needs_exactly_six_steps():
    """With fewer it reads another sequence's token there: right one time in four, skill 0."""
    frame = measured(reading(5)).set_index("context")
    assert frame.index[-1] == 40
    assert (frame.skill[frame.index >= 6] == 1).all()
    assert (frame.skill[frame.index < 6].abs() < 0.15).all()  # 2.5 standard errors of 300 answers


def test_the_last_row_is_the_whole_sequences_as_they_are():
    task = Recall(length=9, lag=2, test=20)
    network = build_network(shipped("gru"), INITIALISATION, task.facts(), seed=0)
    frame = measured(network, recall(length=9, lag=2, test=20))
    data = task.dataset("test")
    last = data.batch(slice(None)).asked_last()
    answers = network(last.inputs, last.lengths, last.query)
    assert frame.skill.iloc[-1] == pytest.approx(
        skill_of(answers, last, task.facts()).mean().item()
    )


def test_kept_steps_are_the_sequences_own_and_the_others_the_donors_read_again_where_it_is_short():
    own, other = torch.zeros(2, 7), torch.arange(14).view(2, 7).float() + 1
    ends = torch.tensor([[6], [4]])
    target = torch.zeros(2, 1, dtype=torch.long)
    batch = Batch(own.unsqueeze(-1), ends[:, 0] + 1, ends, target)
    donor = Batch(other.unsqueeze(-1), torch.tensor([3, 7]), ends, target)
    shown = with_context(batch, donor, 2).inputs.squeeze(-1)
    assert shown.tolist() == [[1, 2, 3, 1, 2, 0, 0], [8, 9, 10, 0, 0, 0, 0]]
    assert with_context(batch, donor, 7).inputs.equal(batch.inputs)


def test_nobody_is_their_own_donor_and_each_gives_once():
    for count in (2, 3, 50):
        donor = donors(count, torch.Generator().manual_seed(count))
        assert (donor != torch.arange(count)).all()
        assert sorted(donor.tolist()) == list(range(count))


def test_contexts_are_spaced_in_the_logarithm_up_to_the_whole():
    assert spaced(64, 7) == [1, 2, 4, 8, 16, 32, 64]
    assert spaced(3, 12) == [1, 2, 3]
    assert spaced(1, 12) == [1]


def test_long_sequences_are_fewer_and_the_same_generator_gives_the_same_table():
    frame = measured(reading(5), steps=800)  # 20 sequences of 40 steps, right or a third below 0
    right = (frame.skill + 1 / 3) / (4 / 3) * 20
    assert right.tolist() == pytest.approx(right.round().tolist(), abs=1e-4)
    assert frame.equals(measured(reading(5), steps=800))


def test_a_split_of_one_sequence_has_nothing_to_draw_from():
    with pytest.raises(NotApplicable, match="no second sequence"):
        measured(reading(5), recall(length=40, lag=5, test=1))
