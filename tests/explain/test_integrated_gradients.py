import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lookback.explain import integrated_gradients
from lookback.explain.base import answer, attribution_of
from lookback.explain.completeness import LARGEST_GAP
from lookback.explain.integrated_gradients import IntegratedGradients
from lookback.models.base import SequenceModel, at_queries
from lookback.models.network import Network
from tests.cells import padded

from .known import asked, by_the_equations, gated, linear, state_of

LENGTHS = torch.tensor([7, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])


def attribute(network, *, points=32, device="cpu"):
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS).to(device)
    background = padded(torch.full((5,), 7), 7, 3, seed=1).to(device)
    explainer = IntegratedGradients(sequences=3, points=points, baseline="mean")
    attribution = attribution_of(
        explainer,
        network,
        batch,
        OUTPUT.to(device),
        background=background,
        generator=torch.Generator(),
    )
    return attribution, batch, background


def test_of_a_linear_model_they_are_weight_times_distance_from_the_baseline():
    weight = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(2)).double()
    attribution, batch, background = attribute(linear(weight), points=2)
    expected = weight[OUTPUT] * (batch.inputs - background.mean(0))
    expected[1, 4:] = expected[2, 1:] = 0
    assert_close(attribution.values, expected, atol=1e-6, rtol=1e-6)
    # What the background holds past a length is no part of the model, nor of the gap.
    assert attribution.error.max() < 1e-6


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_they_are_the_integral_of_the_gradient_by_the_equations_in_float64(name):
    network = gated(name)
    attribution, batch, background = attribute(network, points=32)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    baseline = background.mean(0)
    for row, length in enumerate(LENGTHS.tolist()):
        distance = batch.inputs[row] - baseline
        integral = torch.zeros_like(distance)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            point = (baseline + node * distance).requires_grad_()
            explained = by_the_equations(network, point, length)[OUTPUT[row]]
            integral += weight * torch.autograd.grad(explained, point)[0]
        assert_close(attribution.values[row], integral * distance, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_sum_to_the_change_from_the_background_and_error_is_what_is_missing(dtype):
    network = gated("lstm").to(dtype)
    batch = asked(padded(LENGTHS, 7, 3).to(dtype), LENGTHS)
    background = padded(torch.full((5,), 7), 7, 3, seed=1).to(dtype)
    mean = background.mean(0).expand_as(batch.inputs)
    with torch.no_grad():
        here = answer(network, batch.inputs, LENGTHS, (LENGTHS - 1).unsqueeze(1))
        there = answer(network, mean, LENGTHS, (LENGTHS - 1).unsqueeze(1))
    change = (here - there).gather(1, OUTPUT[:, None])[:, 0]
    for points in (2, 32):
        attribution = IntegratedGradients(3, points, "mean").attribute(
            network, batch, OUTPUT, background=background, generator=torch.Generator()
        )
        missing = (attribution.values.sum((1, 2)) - change).abs()
        assert_close(attribution.error, missing.to(attribution.error.dtype), atol=1e-5, rtol=1e-4)
        assert (missing > 1e-2 * change.abs()).any() == (points == 2)


def test_a_sequence_whose_values_miss_their_sum_gets_more_points_and_no_other_does(monkeypatch):
    network = gated("lstm")
    narrow = attribute(network, points=1)[0]
    monkeypatch.setattr(integrated_gradients, "LARGEST_GAP", math.inf)
    wide = attribute(network, points=1)[0]
    is_wide = wide.gap > LARGEST_GAP
    assert is_wide.any()
    assert torch.equal((narrow.values != wide.values).flatten(1).any(dim=1), is_wide)
    assert (narrow.gap <= LARGEST_GAP).all()


def test_small_passes_give_what_one_pass_gives(monkeypatch):
    network = gated("gru")
    whole = attribute(network)[0].values
    monkeypatch.setattr(integrated_gradients, "STEPS_AT_ONCE", 1)
    assert_close(attribute(network)[0].values, whole)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_model_stays_as_it_was_and_dropout_stays_off(name):
    network = gated(name)
    network.head.weight.requires_grad_(False)
    before = state_of(network)
    first, again = attribute(network)[0].values, attribute(network)[0].values
    assert torch.equal(first, again)
    assert state_of(network) == before
    # The test of the test: with dropout on, two calls differ.
    network.train()
    assert not torch.equal(attribute(network)[0].values, attribute(network)[0].values)


class PlainLSTM(SequenceModel):
    """As somebody would add it: torch's module, whose eval mode cuDNN cannot differentiate."""

    def __init__(self, kernel: nn.LSTM):
        super().__init__()
        self.kernel, self.output_size = kernel, kernel.hidden_size

    def forward(self, inputs, lengths, query):
        return at_queries(self.kernel(inputs)[0], query)

    def trace(self, inputs, lengths, query, *, differentiable=False):
        raise NotImplementedError

    def initialise(self, initialisation):
        raise NotImplementedError


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_plain_lstm_in_eval_mode_is_explained_as_ours_is(device):
    ours = gated("lstm")
    plain = Network(PlainLSTM(deepcopy(ours.encoder.kernel)), 4).double()
    plain.encoder.kernel.dropout = 0.5
    plain.head.load_state_dict(ours.head.state_dict())
    plain.eval().to(device)
    values = attribute(plain, device=device)[0].values
    assert_close(values.cpu(), attribute(ours)[0].values)
