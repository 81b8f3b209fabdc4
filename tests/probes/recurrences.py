"""Recurrent encoders whose Jacobians are known."""

import torch
from torch import nn

from lookback.models.rnn import RNN
from tests.shipped import make_layer


class LinearRNN(RNN):
    """h_t = W_x x_t + W_h h_{t-1}."""

    def cell(self, from_input, state, layer):
        return (from_input + layer.from_state(state[0]),), {}


def scaled_rotation(gain: float, size: int = 8) -> LinearRNN:
    """A linear network whose W_h is `gain` times an orthogonal matrix."""
    torch.manual_seed(1)
    encoder = make_layer(LinearRNN, 2, size).double().eval()
    with torch.no_grad():
        nn.init.orthogonal_(encoder.kernel.weight_hh_l0).mul_(gain)
    return encoder


def random_tanh(gain: float, size: int, seed: int = 0) -> RNN:
    """h_t = tanh(W h_{t-1}), W_ij of standard deviation g / √N, without input or bias."""
    encoder = make_layer(RNN, 1, size).double().eval()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.kernel.weight_hh_l0.copy_(gain / size**0.5 * drawn)
    return encoder
