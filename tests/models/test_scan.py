"""The parallel scan against the recurrence itself, step by step."""

import pytest
import torch
from torch.testing import assert_close

from lookback.models.scan import scan, zero_past

LENGTHS = (1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 50)  # squares, and what lies between them


def one_by_one(coefficients, values, from_end=False):
    """x_t = a_t x_{t∓1} + b_t, as it stands."""
    time = values.shape[1]
    found, x = [None] * time, torch.zeros_like(values[:, 0])
    for t in reversed(range(time)) if from_end else range(time):
        x = coefficients[:, t] * x + values[:, t]
        found[t] = x
    return torch.stack(found, dim=1)


def drawn(time, dtype, batch=3, of_all=False):
    generator = torch.Generator().manual_seed(time)
    sizes = (1 if of_all else batch, batch, batch)
    return [torch.randn(size, time, 2, generator=generator, dtype=dtype) for size in sizes]


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("time", LENGTHS)
def test_states_and_gradients_are_those_of_one_step_after_another(time, dtype, of_all, from_end):
    a, b, weights = drawn(time, dtype, of_all=of_all)
    a, b = a.requires_grad_(), b.requires_grad_()
    found = []
    for way in (scan, one_by_one):
        states = way(a, b, from_end=from_end)
        loss = (states * weights).sum().abs()
        found.append((states, *torch.autograd.grad(loss, (a, b))))
    for fast, slow in zip(*found, strict=True):
        assert_close(fast, slow, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_of_first_and_second_order_are_those_of_finite_differences(
    dtype, of_all, from_end
):
    a, b, _ = (tensor.requires_grad_() for tensor in drawn(10, dtype, of_all=of_all))

    def states(a, b):
        return scan(a, b, from_end=from_end)

    assert torch.autograd.gradcheck(states, (a, b))
    assert torch.autograd.gradgradcheck(states, (a, b))


def test_overwritten_states_are_an_error_and_no_wrong_gradient():
    a, b, _ = (tensor.requires_grad_() for tensor in drawn(10, torch.float64))
    with pytest.raises(RuntimeError, match="inplace"):
        scan(a, b).mul_(2).sum().backward()


def test_coefficients_spread_over_time_without_a_copy_get_their_whole_gradient():
    """As of an LRU: one number a mode, at all steps and in all sequences."""
    mode = torch.tensor([0.9, -0.5], dtype=torch.float64, requires_grad=True)
    values = drawn(20, torch.float64)[1]
    (fast,) = torch.autograd.grad(scan(mode.expand(1, 20, 2), values).sum(), mode)
    (slow,) = torch.autograd.grad(one_by_one(mode.expand(1, 20, 2), values).sum(), mode)
    assert_close(fast, slow)


@pytest.mark.parametrize("level", [-30.0, -3.0, 0.0, 3.0, 30.0])
def test_it_neither_overflows_nor_drifts_over_4096_steps_in_float32(level):
    """Gates that are shut, half open and wide open; float64, step by step, is the truth."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, 4096, 8, generator=generator)
    a = torch.sigmoid(level + draw).requires_grad_()
    b = (torch.sigmoid(-level - draw) * (1 + draw.abs())).detach().requires_grad_()
    found = []
    for way, dtype in ((scan, torch.float32), (one_by_one, torch.float64)):
        states = way(a.to(dtype), b.to(dtype))
        found.append((states, *torch.autograd.grad(states.square().mean(), (a, b))))
    for fast, slow in zip(*found, strict=True):
        assert fast.isfinite().all()
        scale = float(slow.detach().abs().max())
        assert_close(fast.to(slow.dtype), slow, atol=1e-5 * scale, rtol=1e-4)


def test_log_space_loses_what_the_scan_keeps_over_4096_steps():
    """Heinsen 2023, the form of Feng et al. 2024, appendix B: why it is not used here."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(2, 4096, 8, generator=generator)
    a, b = torch.sigmoid(draw - 3), torch.sigmoid(3 - draw)
    truth = one_by_one(a.double(), b.double())
    sums = a.log().cumsum(dim=1)
    in_log_space = (sums + torch.logcumsumexp(b.log() - sums, dim=1)).exp()
    errors = [float(((x - truth) / truth).abs().max()) for x in (scan(a, b), in_log_space)]
    assert errors[0] < 1e-6
    assert errors[1] > 1e-4


def test_zero_past_a_length_starts_a_state_from_the_end_at_the_last_step():
    a, b, _ = drawn(9, torch.float64)
    lengths = torch.tensor([9, 4, 1])
    together = scan(a, zero_past(b, lengths), from_end=True)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone = scan(a[one, :length], b[one, :length], from_end=True)
        assert_close(together[one, :length], alone)
        assert (together[row, length:] == 0).all()
