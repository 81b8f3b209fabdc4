from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lookback.errors import NotApplicable, UserError
from lookback.models.network import Network, build_network
from lookback.models.rnn import RNN
from lookback.probes.length_generalisation import LengthGeneralisation
from lookback.training.run import Run, load_runs
from tests.cells import GRU, INITIALISATION, MARKED, write_cell
from tests.models.cases import shipped
from tests.shipped import make_layer

from .runs import Recall, reading, recall, run_of

TASK = recall(length=10, lag=4, test=60)
ADDING = {
    "_target_": "lookback.data.adding.Adding",
    "length": 8,
    "train": 500,
    "validation": 10,
    "test": 200,
    "seed": 0,
    "fresh": False,
}


def measured(run: Run, **settings):
    probe = LengthGeneralisation(
        **{"factors": [1, 2, 10], "sequences": 50, "steps": 2000, **settings}
    )
    return probe.measure(run, generator=torch.Generator())


def test_a_model_that_reads_by_distance_does_so_at_every_length():
    frame = measured(run_of(TASK, reading(4)))
    assert frame.length.tolist() == [10, 20, 100]
    assert frame.skill.tolist() == frame.value.tolist() == [1, 1, 1]
    assert frame.reason.isna().all()


def test_a_model_that_ends_with_its_training_length_falls_by_the_share_of_later_answers():
    """Past step 10 it answers the first class always: one time in four right, skill 0."""
    frame = measured(run_of(TASK, reading(4, reach=10)))
    data = Recall(length=20, lag=4, test=60).dataset("test").batch(slice(50))
    share = ((data.query >= 0) & (data.query < 10)).sum() / (data.query >= 0).sum()
    assert frame.skill[0] == 1
    assert frame.skill[1] == pytest.approx(share.item(), abs=0.1)


class Sum(RNN):
    """h_t = h_{t-1} + x_t · marker_t, in the first unit."""

    def forward(self, inputs, lengths, query):
        total = inputs.prod(dim=-1).sum(dim=1)
        return total.view(-1, 1, 1).expand(-1, 1, self.output_size)


def test_skill_is_against_each_lengths_own_baseline():
    """The mean has the error 1/6; twice the mean of the T values has 1/6 · (1 − 2 / T)."""
    network = Network(make_layer(Sum, 2, 1), 1)
    with torch.no_grad():
        nn.init.ones_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    assert measured(run_of(ADDING, network)).skill.tolist() == pytest.approx([1, 1, 1], abs=1e-9)
    with torch.no_grad():
        nn.init.zeros_(network.head.weight)
        nn.init.ones_(network.head.bias)
    frame = measured(run_of(ADDING, network), sequences=200, steps=10**6)
    assert frame.skill.tolist() == pytest.approx([-2 / 6, -2 / 14, -2 / 78], abs=0.1)
    assert frame.value.tolist() == pytest.approx([1 / 6] * 3, rel=0.5)


def test_positions_learned_are_named_where_they_end_and_nothing_crashes():
    task = Recall(length=10, lag=4, test=20)
    config = shipped("transformer", positions="learned", longest=25)
    network = build_network(config, INITIALISATION, task.facts(), seed=0)
    frame = measured(run_of(TASK, network))
    assert np.isfinite(frame.skill[:2]).all()
    assert np.isnan(frame.skill[2])
    assert frame.reason[:2].isna().all()
    assert frame.reason[2].startswith("at 10 × 10 steps: a transformer with 25 learned positions")


def test_a_task_that_refuses_a_length_is_a_row_with_the_reason():
    frame = measured(run_of(TASK | {"longest": 15}, reading(4)))
    assert frame.skill[0] == 1
    assert frame.reason[1] == "at 2 × 10 steps: length 20 is past 15."


def test_a_task_whose_shape_changes_with_its_length_is_a_row_with_the_reason():
    run = run_of(TASK, reading(4))
    frame = measured(replace(run, facts=replace(run.facts, features=3)), factors=[1])
    assert frame.reason[0] == "at 1 × 10 steps: the task has 4 features at this length, not 3"


@pytest.mark.parametrize(
    ("setting", "value"), [("factors", [2, 0]), ("factors", []), ("sequences", 0), ("steps", -1)]
)
def test_a_setting_below_one_is_a_mistake(setting, value):
    with pytest.raises(UserError, match=f"`{setting}` is .* Make it 1 or more"):
        LengthGeneralisation(**{"factors": [1], "sequences": 5, "steps": 9, setting: value})


def test_of_long_lengths_fewer_sequences_are_answered_but_the_baseline_sees_more():
    model = reading(4)
    asked = []
    model.register_forward_hook(lambda _, given, out: asked.append(given[0].shape))
    run = run_of(TASK | {"test": 5000}, model)
    measured(run, factors=[1, 2, 10], steps=600)
    assert asked == [(50, 10), (30, 20), (16, 100)]


def test_a_task_without_a_length_does_not_apply(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    with pytest.raises(NotApplicable, match="cannot be made longer"):
        measured(run)
