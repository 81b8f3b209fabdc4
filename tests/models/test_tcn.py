"""TCN: how far back an answer sees, and its convolutions against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.tcn import TCN, CausalConvolution
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN


@pytest.mark.parametrize(("kernel_size", "layers"), [(2, 1), (2, 4), (3, 3), (5, 2), (1, 2)])
def test_an_answer_sees_exactly_as_many_last_steps_as_the_docstring_says(kernel_size, layers):
    """1 + 2 (k - 1)(2^L - 1); all weights positive, so that no gradient is lost on the way."""
    model = make_layer(TCN, 1, 2, layers, kernel_size).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.1, 1.0)
    field, time, at = 1 + 2 * (kernel_size - 1) * (2**layers - 1), 70, 64
    inputs = torch.rand(1, time, 1, dtype=torch.float64, requires_grad=True)
    features = model(inputs, torch.tensor([time]), torch.tensor([[at]]))
    (gradient,) = torch.autograd.grad(features.sum(), inputs)
    seen = gradient[0, :, 0] != 0
    assert seen.nonzero().squeeze(1).tolist() == list(range(at - field + 1, at + 1))


@pytest.mark.parametrize("dilation", [1, 4])
def test_a_convolution_is_torchs_own_with_weight_norm_and_its_end_cut_off(dilation):
    """As the authors' code has it: padded on both sides, and the right side chomped."""
    torch.manual_seed(0)
    ours = CausalConvolution(FEATURES, HIDDEN, 3, dilation)
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    reach = 2 * dilation
    theirs = weight_norm(nn.Conv1d(FEATURES, HIDDEN, 3, padding=reach, dilation=dilation))
    with torch.no_grad():
        theirs.bias.copy_(ours.bias)
        theirs.parametrizations.weight.original0.copy_(ours.magnitude[:, None, None])
        theirs.parametrizations.weight.original1.copy_(ours.direction)
    z = torch.randn(2, FEATURES, 20)
    assert_close(ours(z), theirs(z)[..., :-reach])


def test_dropout_takes_a_channel_at_all_steps_or_at_none():
    torch.manual_seed(0)
    model = make_layer(TCN, FEATURES, HIDDEN, layers=1, kernel_size=2, dropout=0.5)
    block = model.blocks[0]
    dropped = block.drop(torch.ones(50, HIDDEN, 9)) == 0
    assert 0.3 < dropped.float().mean() < 0.7
    assert (dropped.all(dim=2) == dropped.any(dim=2)).all()


def test_weight_norm_starts_where_it_changes_nothing():
    """G = ‖v‖, so that W is v, drawn xavier_uniform over all taps; biases zero."""
    model = make_layer(TCN, FEATURES, 64, layers=2, kernel_size=4)
    model.initialise(Initialisation("orthogonal", "xavier_uniform", 1.0))
    for block in model.blocks:
        for convolution in (block.first, block.second):
            v = convolution.direction
            assert_close(convolution.magnitude, v.flatten(1).norm(dim=1))
            bound = (6 / ((v.shape[0] + v.shape[1]) * 4)) ** 0.5
            assert 0.9 * bound < v.abs().max() <= bound
            assert (convolution.bias == 0).all()


@pytest.mark.parametrize("name", ["hidden_size", "layers", "kernel_size"])
def test_a_size_below_one_is_a_mistake(name):
    sizes = {"hidden_size": 4, "layers": 2, "kernel_size": 3, name: 0}
    with pytest.raises(UserError, match=f"`{name}` is 0. Make it 1 or more"):
        make_layer(TCN, FEATURES, **sizes)
