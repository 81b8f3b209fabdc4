"""One training step of the tutorial's network, against the equations of Keras 3 in float64.

Keras is not installed. Its layers SimpleRNN, LSTM and GRU and its Adam are written here again, with
its own layout: a kernel (F, gates · H), a recurrent kernel (H, gates · H), and one bias, or two
biases in a GRU with `reset_after=True`. The order of the gates is i, f, c, o in an LSTM, and
z, r, h in a GRU. The gradients are central differences of the loss.
"""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lookback.data.task import Facts
from lookback.models.network import build_network
from lookback.planning.study import compose_study
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of
from tests.conftest import ROOT
from tests.shipped import model_config

FEATURES, HIDDEN, CLASSES, BATCH, TIME = 3, 4, 5, 6, 7


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simple_rnn(x, h, c, kernel, recurrent, bias):
    return np.tanh(x @ kernel + bias + h @ recurrent), c


def lstm(x, h, c, kernel, recurrent, bias):
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_after(x, h, c, kernel, recurrent, bias):
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=1)
    h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3, axis=1)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    return z * h + (1 - z) * np.tanh(x_h + r * h_h), c


def gru_before(x, h, c, kernel, recurrent, bias):
    x_z, x_r, x_h = np.split(x @ kernel + bias, 3, axis=1)
    u_z, u_r, u_h = np.split(recurrent, 3, axis=1)
    z, r = sigmoid(x_z + h @ u_z), sigmoid(x_r + h @ u_r)
    return z * h + (1 - z) * np.tanh(x_h + (r * h) @ u_h), c


# by the settings of the model: Keras' equations, the number of gates, and the place in Keras of
# each gate of torch
LAYERS = {
    ("rnn.RNN", "tanh", "single"): (simple_rnn, 1, [0]),
    ("lstm.LSTM", None, "single"): (lstm, 4, [0, 1, 2, 3]),
    ("gru.GRU", "after", "double"): (gru_after, 3, [1, 0, 2]),
    ("gru.GRU", "before", "single"): (gru_before, 3, [1, 0, 2]),
}
each_layer = pytest.mark.parametrize("kind", LAYERS, ids=str)


def start(kind, rng):
    """Keras' weights of two layers and a Dense layer, as its initialisers draw them."""
    _, gates, _ = LAYERS[kind]
    weights, width = [], FEATURES
    for _ in range(2):
        bound = np.sqrt(6 / (width + gates * HIDDEN))  # GlorotUniform
        orthogonal = np.linalg.qr(rng.normal(size=(gates * HIDDEN, HIDDEN)))[0].T
        bias = np.zeros((2, gates * HIDDEN) if kind[2] == "double" else gates * HIDDEN)
        if kind[0] == "lstm.LSTM":
            bias[HIDDEN : 2 * HIDDEN] = 1.0  # unit_forget_bias
        weights += [rng.uniform(-bound, bound, (width, gates * HIDDEN)), orthogonal, bias]
        width = HIDDEN
    bound = np.sqrt(6 / (HIDDEN + CLASSES))
    return [*weights, rng.uniform(-bound, bound, (HIDDEN, CLASSES)), np.zeros(CLASSES)]


def loss_of(kind, weights, inputs, target):
    """The mean cross-entropy of the answers after the last step."""
    cell, sequence = LAYERS[kind][0], list(inputs.swapaxes(0, 1))
    for layer in range(2):
        h = c = np.zeros((BATCH, HIDDEN))
        outputs = []
        for x in sequence:
            h, c = cell(x, h, c, *weights[3 * layer : 3 * layer + 3])
            outputs.append(h)
        sequence = outputs
    logits = sequence[-1] @ weights[6] + weights[7]
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[range(BATCH), target])


def gradients_of(loss, weights):
    """Central differences of `loss()` with respect to each number of `weights`."""
    gradients = [np.zeros_like(weight) for weight in weights]
    for weight, gradient in zip(weights, gradients, strict=True):
        for place in np.ndindex(weight.shape):
            value, step, ends = weight[place], 1e-5, []
            for weight[place] in (value + step, value - step):
                ends.append(loss())
            weight[place], gradient[place] = value, (ends[0] - ends[1]) / (2 * step)
    return gradients


def adam(weight, moments, gradient, step, rate=1e-3, beta=(0.9, 0.999), epsilon=1e-7):
    """The update of keras.optimizers.Adam, whose step size holds the bias correction."""
    first, second = moments
    first[:] = beta[0] * first + (1 - beta[0]) * gradient
    second[:] = beta[1] * second + (1 - beta[1]) * gradient**2
    size = rate * np.sqrt(1 - beta[1] ** step) / (1 - beta[0] ** step)
    return weight - size * first / (np.sqrt(second) + epsilon)


def in_our_layout(kind, values):
    """Weights, or their gradients, by the names and in the shapes of our network."""
    order = LAYERS[kind][2]
    places = np.concatenate([np.arange(HIDDEN) + gate * HIDDEN for gate in order])
    named = {"head.weight": values[6].T, "head.bias": values[7]}
    for layer in range(2):
        kernel, recurrent, bias = values[3 * layer : 3 * layer + 3]
        biases = dict(zip(("ih", "hh"), np.atleast_2d(bias), strict=False))
        named |= {f"encoder.kernel.weight_ih_l{layer}": kernel.T[places]}
        named |= {f"encoder.kernel.weight_hh_l{layer}": recurrent.T[places]}
        named |= {f"encoder.kernel.bias_{k}_l{layer}": b[places] for k, b in biases.items()}
    return named


def ours(kind, hidden=HIDDEN, features=FEATURES, classes=CLASSES, layers=2):
    name, setting, bias = kind
    changes = {"hidden_size": hidden, "layers": layers, "bias": bias}
    changes |= {"reset": setting} if name == "gru.GRU" else {}
    facts = Facts("class", False, features, TIME, classes, "accuracy", 0.2, "a class", {})
    recipe = tutorial()["initialisation"]
    return build_network(model_config(name, **changes), recipe, facts, seed=0)


def tutorial():
    return compose_study(ROOT / "conf", "mnist").cells["mnist_rows", "lstm"].recipe


@each_layer
def test_a_training_step_is_that_of_keras(kind):
    """Two steps of Adam, so that the moments of the first step count in the second."""
    rng = np.random.default_rng(0)
    weights, network = start(kind, rng), ours(kind)
    optimizer = optimizer_of(tutorial(), network)
    moments = [np.zeros((2, *weight.shape)) for weight in weights]
    smallest = [np.full(weight.shape, np.inf) for weight in weights]  # gradient of both steps
    network.load_state_dict(
        {name: torch.tensor(value) for name, value in in_our_layout(kind, weights).items()}
    )
    lengths = torch.full((BATCH,), TIME)
    for step in (1, 2):
        inputs, target = rng.normal(size=(BATCH, TIME, FEATURES)), rng.integers(CLASSES, size=BATCH)
        query, asked = lengths[:, None] - 1, torch.tensor(target)[:, None]
        loss = answer_loss(
            network(torch.tensor(inputs).float(), lengths, query), query, asked, "class"
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        assert loss.item() == pytest.approx(loss_of(kind, weights, inputs, target), abs=1e-5)
        gradients = gradients_of(partial(loss_of, kind, weights, inputs, target), weights)
        right = in_our_layout(kind, gradients)
        for name, parameter in network.named_parameters():
            assert_allclose(parameter.grad.numpy(), right.pop(name), atol=2e-5, err_msg=name)
        assert not right
        optimizer.step()
        for place, gradient in enumerate(gradients):
            weights[place] = adam(weights[place], moments[place], gradient, step)
            smallest[place] = np.minimum(smallest[place], np.abs(gradient))
        moved, slopes = in_our_layout(kind, weights), in_our_layout(kind, smallest)
        for name, parameter in network.named_parameters():
            # A step is 1e-3. Keras' epsilon makes it smaller for the smallest gradients.
            plain = slopes[name] > 3e-4
            ours_moved = parameter.detach().numpy()[plain]
            assert_allclose(ours_moved, moved[name][plain], atol=1e-4, err_msg=name)


def test_the_comparison_with_keras_sees_two_biases():
    """Adam moves the sum of both biases twice as far as one."""
    single, double = (ours(("lstm.LSTM", None, bias)) for bias in ("single", "double"))
    shifts = []
    for network in (single, double):
        optimizer = optimizer_of(tutorial(), network)
        query = torch.full((BATCH, 1), TIME - 1)
        before = sum_of_biases(network)
        answers = network(torch.ones(BATCH, TIME, FEATURES), query[:, 0] + 1, query)
        torch.autograd.backward(answers.square().sum())
        optimizer.step()
        shifts.append((sum_of_biases(network) - before).abs().max().item())
    assert shifts == pytest.approx([1e-3, 2e-3], rel=0.01)


def sum_of_biases(network):
    _, _, b_x, b_h = network.encoder.kernel.all_weights[0]
    return (b_x + b_h).detach().clone()


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (("rnn.RNN", "tanh", "single"), 3_950),
        (("lstm.LSTM", None, "single"), 15_800),
        (("lstm.LSTM", None, "double"), 16_000),
        (("gru.GRU", "after", "double"), 12_000),
        (("gru.GRU", "before", "single"), 11_850),
    ],
)
def test_a_layer_has_as_many_parameters_as_in_keras(kind, count):
    """What `model.summary()` of Keras says of 50 units on rows of 28 pixels."""
    network = ours(kind, hidden=50, features=28, layers=1)
    assert sum(weight.numel() for weight in network.encoder.parameters()) == count


def test_the_networks_of_study_mnist_have_the_biases_of_keras():
    cells = compose_study(ROOT / "conf", "mnist").cells
    settings = {name: cell.model for (_, name), cell in cells.items()}
    assert settings["rnn"]["bias"] == settings["lstm"]["bias"] == "single"
    assert settings["attention"]["encoder"]["bias"] == "single"
    assert (settings["gru"]["bias"], settings["gru"]["reset"]) == ("double", "after")
    assert settings["lstm_double_bias"] == {**settings["lstm"], "bias": "double"}
