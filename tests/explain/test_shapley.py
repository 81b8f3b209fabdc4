import math
from itertools import combinations

import pytest
import torch
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.explain import perturbation
from lookback.explain.base import explained_answer
from lookback.explain.shapley import Shapley
from lookback.models.network import Network
from tests.cells import padded

from .known import Flat, asked, gated, linear, state_of

TIME = 8
LENGTHS = torch.tensor([8, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])
INPUTS = padded(LENGTHS, TIME, 3)
BACKGROUND = padded(torch.full((5,), TIME), TIME, 3, seed=1)
MEAN = BACKGROUND.mean(0)


def attribute(network, *, pairs=2, baseline="mean", windows=64, seed=0):
    return Shapley(3, windows, pairs, baseline).attribute(
        network,
        asked(INPUTS, LENGTHS),
        OUTPUT,
        background=BACKGROUND,
        generator=torch.Generator().manual_seed(seed),
    )


@torch.no_grad()
def exact(network) -> torch.Tensor:
    """Shapley values (B, T) from all 2^T sets of steps, by the definition."""
    batch, worth = asked(INPUTS, LENGTHS), {}
    for size in range(TIME + 1):
        for steps in combinations(range(TIME), size):
            inputs = MEAN.expand_as(INPUTS).clone()
            inputs[:, list(steps)] = INPUTS[:, list(steps)]
            worth[frozenset(steps)] = explained_answer(network, batch, OUTPUT, inputs)
    values = torch.zeros(3, TIME, dtype=torch.float64)
    for step in range(TIME):
        for steps, answers in worth.items():
            if step not in steps:
                weight = 1 / (TIME * math.comb(TIME - 1, len(steps)))
                values[:, step] += weight * (worth[steps | {step}] - answers)
    return values


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_they_are_the_exact_values_within_their_standard_errors(name):
    network = gated(name)
    found, expected = attribute(network, pairs=150), exact(network)
    z = (found.values.sum(2) - expected) / found.standard_error.sum(2).clamp(min=1e-9)
    assert z.abs().max() < 4
    assert z[0].square().mean() > 0.05  # the standard error is not far too large
    assert_close(found.values.sum(2), expected, atol=0.03, rtol=0)


def test_of_a_linear_model_they_are_exact_for_any_orders_and_have_no_error():
    weight = torch.randn(4, TIME, 3, generator=torch.Generator().manual_seed(2)).double()
    found = attribute(linear(weight))
    expected = (weight[OUTPUT] * (INPUTS - MEAN)).sum(2)
    expected[torch.arange(TIME) >= LENGTHS[:, None]] = 0
    assert_close(found.values.sum(2), expected)
    assert found.standard_error.max() < 1e-9
    assert found.baseline == "mean"


@pytest.mark.parametrize("baseline", ["mean", "zero", "data"])
def test_they_sum_to_the_change_from_the_baselines(baseline):
    network, batch = gated("lstm"), asked(INPUTS, LENGTHS)
    found = attribute(network, pairs=3, baseline=baseline)
    chosen = {"mean": MEAN[None], "zero": 0 * MEAN[None], "data": BACKGROUND[:3]}[baseline]
    with torch.no_grad():
        there = [explained_answer(network, batch, OUTPUT, b.expand_as(INPUTS)) for b in chosen]
        change = explained_answer(network, batch, OUTPUT, INPUTS) - torch.stack(there).mean(0)
    assert_close(found.values.sum((1, 2)), change)
    assert found.error.max() < 1e-9


class Product(Flat):
    """The product of steps 1 and 2, which are interchangeable; step 3 does nothing."""

    def forward(self, inputs, lengths, query):
        return (inputs[:, 1] * inputs[:, 2])[:, None]


def test_equal_steps_get_equal_values_and_a_step_without_effect_gets_nothing():
    network = Network(Product(1, 3), 4).double().eval()
    inputs = padded(torch.full((3,), TIME), TIME, 3)
    batch = asked(inputs, torch.full((3,), TIME))
    explainer = Shapley(3, 64, pairs=2, baseline="zero")
    given = {"background": BACKGROUND, "generator": torch.Generator().manual_seed(0)}
    values = explainer.attribute(network, batch, OUTPUT, **given).values.sum(2)
    with torch.no_grad():
        change = explained_answer(network, batch, OUTPUT, inputs)
        change = change - explained_answer(network, batch, OUTPUT, 0 * inputs)
    # Of each antithetic pair, each of the two steps comes last once.
    assert_close(values[:, 1], change / 2)
    assert_close(values[:, 2], change / 2)
    assert values[:, [0, 3, 4, 5, 6, 7]].abs().max() < 1e-12


def test_small_passes_give_what_one_pass_gives_and_windows_share_their_value(monkeypatch):
    network = gated("gru")
    whole = attribute(network, windows=3)  # steps 0-2, 3-5 and 6-7
    assert_close(whole.values[0, 3], whole.values[0, 5])
    assert_close(whole.values[1, 3], whole.values[1, 3, :1].expand(3))
    assert (whole.values[1, 4:] == 0).all()
    monkeypatch.setattr(perturbation, "STEPS_AT_ONCE", 1)
    assert_close(attribute(network, windows=3).values, whole.values)


def test_the_model_stays_as_it_was_and_one_pair_is_refused():
    network = gated("lstm")
    before = state_of(network)
    attribute(network)
    assert state_of(network) == before
    with pytest.raises(UserError, match="Make it at least 2"):
        Shapley(3, 64, pairs=1, baseline="mean")
