import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.errors import NotApplicable
from lookback.explain import contextual_decomposition
from lookback.explain.contextual_decomposition import ContextualDecomposition
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM

from .known import asked, state_of
from .lrp_twin import sigmoid
from .test_lrp import INPUTS, LENGTHS, OUTPUT, network_of


def attribute(network):
    return ContextualDecomposition(sequences=3).attribute(
        network, asked(INPUTS, LENGTHS), OUTPUT, background=INPUTS, generator=torch.Generator()
    )


def split(function, relevant: float, other: float, bias: float) -> tuple[float, float, float]:
    """Equation 20 of the paper: the mean over the two orders of the terms after the bias."""
    first = function(bias + relevant) - function(bias)
    last = function(bias + other + relevant) - function(bias + other)
    part = (first + last) / 2
    return part, function(bias + other + relevant) - function(bias) - part, function(bias)


def one_layer(weights, xs, phrase: int) -> tuple[np.ndarray, np.ndarray]:
    """The relevant and other part of each h_t (T, H) by section 3.2, one product after another."""
    w_x, w_h, b_x, b_h = (w.detach().numpy() for w in weights)
    size, relevant_xs, other_xs = w_h.shape[1], *xs
    h, c, found = (np.zeros(size), np.zeros(size)), (np.zeros(size), np.zeros(size)), []
    for t, (x_relevant, x_other) in enumerate(zip(relevant_xs, other_xs, strict=True)):
        relevant, other = w_x @ x_relevant + w_h @ h[0], w_x @ x_other + w_h @ h[1]
        bias, new_h, new_c = b_x + b_h, np.zeros((2, size)), np.zeros((2, size))
        for unit in range(size):
            i, f, g, o = (
                split(function, relevant[at], other[at], bias[at])
                for function, at in zip(
                    (sigmoid, sigmoid, np.tanh, sigmoid), range(unit, 4 * size, size), strict=True
                )
            )
            owners = {"r": 0, "o": 1, "b": 0}
            for name_f, value_f in zip("rob", f, strict=True):
                for owner in (0, 1):
                    keeps = owner == 0 and name_f != "o"
                    new_c[0 if keeps else 1, unit] += value_f * c[owner][unit]
            for name_i, value_i in zip("rob", i, strict=True):
                for name_g, value_g in zip("rob", g, strict=True):
                    owner = max(owners[name_i], owners[name_g])
                    if (name_i, name_g) == ("b", "b"):
                        owner = 0 if t == phrase else 1
                    new_c[owner, unit] += value_i * value_g
            tanh_relevant, tanh_other, _ = split(np.tanh, *new_c[:, unit], 0.0)
            new_h[:, unit] = sum(o) * tanh_relevant, sum(o) * tanh_other
        h, c = new_h, new_c
        found.append(h)
    return np.stack(found)[:, 0], np.stack(found)[:, 1]


@pytest.mark.parametrize("settings", [{}, {"layers": 2}, {"bidirectional": True}])
def test_a_step_is_worth_its_part_by_the_equations_of_the_paper(settings):
    network = network_of(LSTM, **settings)
    attribution, encoder = attribute(network), network.encoder
    for row, length in enumerate(LENGTHS.tolist()):
        for phrase in range(length):
            alone = np.zeros((length, 3))
            alone[phrase] = INPUTS[row, phrase]
            xs = alone, INPUTS[row, :length].numpy() - alone
            for layer in range(encoder.layers):
                weights = encoder.kernel.all_weights[encoder.directions * layer :]
                parts = [one_layer(weights[0], xs, phrase)]
                if encoder.directions == 2:
                    backward = one_layer(weights[1], [x[::-1] for x in xs], length - 1 - phrase)
                    parts.append([part[::-1] for part in backward])
                xs = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
            expected = network.head.weight[OUTPUT[row]].detach().numpy() @ xs[0][-1]
            assert attribution.values[row, phrase].sum().item() == pytest.approx(expected)
        assert (attribution.values[row, length:] == 0).all()
    assert attribution.error.max() < 1e-9


def test_a_sequence_of_one_step_belongs_to_this_step_whole():
    network = network_of(LSTM)
    found = attribute(network).values[2, 0].sum()
    with torch.no_grad():
        logit = network(INPUTS, LENGTHS, (LENGTHS - 1).unsqueeze(1))[2, 0, OUTPUT[2]]
    assert_close(found, logit - network.head.bias[OUTPUT[2]])


def test_small_passes_give_what_one_pass_gives(monkeypatch):
    network = network_of(LSTM)
    whole = attribute(network).values
    monkeypatch.setattr(contextual_decomposition, "STEPS_AT_ONCE", 1)
    assert_close(attribute(network).values, whole)


def test_the_model_stays_as_it_was_and_other_models_are_told_why():
    network = network_of(LSTM)
    before = state_of(network)
    attribute(network)
    assert state_of(network) == before
    with pytest.raises(NotApplicable, match="for an LSTM, and not for GRU"):
        attribute(network_of(GRU))
