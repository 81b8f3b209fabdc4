"""Rollout, attention × gradient, and the path of the prediction, on every kind of model."""

import pytest
import torch
from torch.testing import assert_close

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.attention_gradient import AttentionGradient
from lookback.explain.attention_rollout import AttentionRollout
from lookback.explain.base import answer
from lookback.explain.prediction_path import PredictionPath
from lookback.models.network import Network
from tests.cells import padded
from tests.models import cases

from .known import state_of

LENGTHS = torch.tensor([7, 4, 1])
QUERY = torch.tensor([[6], [2], [0]])
OUTPUT = torch.tensor([0, 3, 2])
INPUTS = padded(LENGTHS, 7, 3)
ATTENDING = [name for name in cases.CASES if "attention" in name or "transformer" in name]


def network_of(name) -> Network:
    return Network(cases.build(name), 4).double().eval()


def attribute(explainer, network):
    batch = Batch(INPUTS, LENGTHS, QUERY, torch.zeros_like(QUERY))
    given = {"background": INPUTS, "generator": torch.Generator()}
    return explainer.attribute(network, batch, OUTPUT, **given)


@torch.no_grad()
def answers(network, inputs=INPUTS, lengths=LENGTHS, query=QUERY):
    return answer(network, inputs, lengths, query).gather(1, OUTPUT[:, None])[:, 0]


@pytest.mark.parametrize("name", ATTENDING)
def test_rollout_is_the_product_of_the_layers_with_half_an_identity(name):
    network = network_of(name)
    found = attribute(AttentionRollout(3), network)
    every = torch.arange(7).expand(3, -1)
    with torch.no_grad():
        layers = network.encoder.attention_by_layer(INPUTS, LENGTHS, every)
    for row, query in enumerate(QUERY[:, 0].tolist()):
        product = torch.eye(7, dtype=torch.float64)
        for weights in layers:
            product = (weights[row].mean(0) / 2 + torch.eye(7) / 2) @ product
        assert_close(found.values[row].sum(1), product[query])
    assert_close(found.values.sum((1, 2)), torch.ones(3, dtype=torch.float64))
    assert found.error.max() < 1e-9


@pytest.mark.parametrize("name", ["transformer", "transformer_rotary", "lstm_transformer_causal"])
def test_attention_times_gradient_is_the_effect_of_a_steps_value_vector(name):
    """Scaling v_s by 1 + δ changes the answer by δ Σ α_s v_s · ∂f/∂u, to first order."""
    network = network_of(name)
    found = attribute(AttentionGradient(3), network).values.sum(2)
    last, small = network.encoder.stack.layers[-1], 1e-5
    for step in range(7):
        slopes = []
        for sign in (1, -1):
            factor = torch.ones(7, 1, dtype=torch.float64)
            factor[step] += sign * small
            handle = last.value.register_forward_hook(lambda *given, by=factor: given[2] * by)
            slopes.append(sign * answers(network) / (2 * small))
            handle.remove()
        assert_close(found[:, step], slopes[0] + slopes[1], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", ["attention", "attention_scaled_dot"])
def test_attention_times_gradient_equals_autograd_by_bahdanaus_and_luongs_equations(name):
    network = network_of(name)
    found = attribute(AttentionGradient(3), network).values.sum(2)
    model = network.encoder
    with torch.no_grad():
        states = model.encoder.trace_outputs(INPUTS, LENGTHS).features
        every = model.attention_by_layer(INPUTS, LENGTHS, QUERY)[0][:, 0, 0]
    for row, query in enumerate(QUERY[:, 0].tolist()):
        weights = every[row].clone().requires_grad_()
        context = weights @ states[row]
        feature = torch.tanh(model.combine(torch.cat([context, states[row, query]])))
        explained = network.head(feature)[OUTPUT[row]]
        (slope,) = torch.autograd.grad(explained, weights)
        assert_close(found[row], (weights * slope).detach())


@pytest.mark.parametrize("name", ATTENDING)
def test_hooks_are_gone_afterwards_and_the_model_is_unchanged(name):
    network = network_of(name)
    before = state_of(network)
    attribute(AttentionGradient(3), network)
    assert state_of(network) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_models_without_attention_are_told_so():
    for explainer in (AttentionRollout(3), AttentionGradient(3)):
        with pytest.raises(NotApplicable, match="GRU has no attention"):
            attribute(explainer, network_of("gru"))


@pytest.mark.parametrize("name", cases.CASES)
def test_partial_sums_of_the_path_are_the_answers_of_the_sequences_that_end_there(name):
    network = network_of(name)
    found = attribute(PredictionPath(3), network)
    partial = found.values.sum(2).cumsum(1)
    for step in range(7):
        ended = LENGTHS.clamp(max=step + 1), QUERY.clamp(max=step)
        assert_close(partial[:, step], answers(network, INPUTS, *ended), atol=1e-9, rtol=1e-7)
    assert_close(partial[:, -1], answers(network), atol=1e-9, rtol=1e-7)
    assert found.error.max() < 1e-9
