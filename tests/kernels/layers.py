"""Layers of torch's modules, and the kernels that run them, for the tests of the kernels."""

import pytest
import torch
from torch import nn

from lookback.kernels import gru, lstm, rnn
from lookback.kernels.layer import run_layer

KERNELS = {"rnn_tanh": rnn.TANH, "rnn_relu": rnn.RELU, "lstm": lstm.KERNEL, "gru": gru.KERNEL}
MODULES = {
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **more: nn.RNN(*sizes, nonlinearity="relu", **more),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
# batch, steps, features, hidden: odd sizes, one step, one sequence, more rows than a block
SHAPES = [
    (3, 7, 5, 6),
    (1, 1, 1, 1),
    (2, 1, 3, 9),
    (1, 30, 2, 8),
    (37, 11, 28, 50),
    (70, 5, 64, 24),
]

kernels = pytest.mark.parametrize("name", KERNELS)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def module(name, features, hidden, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return MODULES[name](features, hidden, batch_first=True).to(dtype)


def weights(made):
    return tuple(made.all_weights[0])


def sequences(shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape[:3], generator=generator)


def run(name, inputs, made, state=()):
    """The kernel on sequences that all have as many steps as `inputs`."""
    return run_layer(KERNELS[name], inputs, full(inputs), weights(made), state)


def full(inputs):
    return torch.full((len(inputs),), inputs.shape[1])


def gradients(outputs, inputs, made, pull):
    return torch.autograd.grad((outputs * pull).sum(), [inputs, *made.parameters()])


def distance(found, wanted):
    """Largest relative error of a tensor as a whole."""
    return max(
        float((a.double() - b).detach().norm() / b.detach().norm().clamp(min=1e-12))
        for a, b in zip(found, wanted, strict=True)
    )
