"""A fused layer against torch's module of the same weights, in float64 and in float32."""

import warnings

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.kernels.buffers import _kept
from lookback.kernels.layer import applies, open_layer, run_layer

from .layers import (
    KERNELS,
    distance,
    full,
    gradients,
    kernels,
    module,
    run,
    sequences,
    shapes,
    weights,
)


def both(name, shape, pull=None):
    """Outputs and gradients by the kernel in float32 and by torch's module in float64."""
    made = module(name, *shape[2:])
    exact = module(name, *shape[2:]).double()
    inputs = sequences(shape).requires_grad_()
    doubled = inputs.detach().double().requires_grad_()
    pull = torch.randn(*shape[:2], shape[3]) if pull is None else pull
    ours, _ = run(name, inputs, made)
    theirs = exact(doubled)[0]
    return (
        (ours, gradients(ours, inputs, made, pull)),
        (theirs, gradients(theirs, doubled, exact, pull.double())),
    )


@kernels
@shapes
def test_outputs_and_gradients_are_those_of_torchs_module(name, shape):
    (ours, our_gradients), (theirs, their_gradients) = both(name, shape)
    assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    assert distance(our_gradients, their_gradients) < 1e-5


@kernels
def test_a_long_sequence_stays_as_near_to_float64_as_torchs_own_kernel(name):
    shape = (4, 1000, 2, 32)
    (ours, our_gradients), (theirs, their_gradients) = both(name, shape)
    assert_close(ours.double(), theirs, atol=1e-5, rtol=0)
    assert distance(our_gradients, their_gradients) < 1e-5


@kernels
def test_a_gradient_of_one_step_or_of_a_sum_arrives_in_whatever_layout_it_comes(name):
    shape = (5, 6, 3, 10)
    last = torch.zeros(5, 6, 10)
    last[:, -1] = 1
    for pull in (last, torch.ones(()).expand(5, 6, 10)):
        (_, ours), (_, theirs) = both(name, shape, pull)
        assert distance(ours, theirs) < 1e-5


@kernels
def test_inputs_may_be_views_in_any_order(name):
    made = module(name, 3, 8)
    inputs = sequences((6, 4, 3))
    wanted, _ = run(name, inputs, made)
    views = [
        inputs.transpose(0, 1).contiguous().transpose(0, 1),
        inputs.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        torch.cat([inputs, inputs], dim=2)[..., :3],
    ]
    for view in views:
        assert not view.is_contiguous()
        assert torch.equal(run(name, view, made)[0], wanted)


@kernels
def test_without_gradients_the_numbers_are_the_same(name):
    made, inputs = module(name, 2, 12), sequences((9, 14, 2))
    outputs, last = run(name, inputs, made)
    with torch.no_grad():
        again, last_again = run(name, inputs, made)
    assert torch.equal(outputs, again)
    for part, part_again in zip(last, last_again, strict=True):
        assert torch.equal(part, part_again)


@kernels
def test_a_layer_goes_on_from_its_last_state(name):
    made, inputs = module(name, 2, 12), sequences((5, 14, 2))
    whole, last = run(name, inputs, made)
    first, state = run(name, inputs[:, :6], made)
    second, end = run(name, inputs[:, 6:], made, state)
    assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=0)
    assert [tuple(part.shape) for part in end] == [(5, 12)] * (2 if name == "lstm" else 1)
    for part, wanted in zip(end, last, strict=True):
        assert_close(part, wanted, atol=1e-6, rtol=0)


@kernels
def test_no_gradient_flows_into_the_state_it_starts_from(name):
    made, inputs = module(name, 2, 12), sequences((5, 14, 2))
    _, state = run(name, inputs[:, :6], made)
    rest, _ = run(name, inputs[:, 6:], made, state)
    ours = torch.autograd.grad(rest.sum(), made.parameters())
    exact = module(name, 2, 12).double()
    start = tuple(part.double().unsqueeze(0) for part in state)
    hidden = exact(inputs[:, 6:].double(), start if name == "lstm" else start[0])[0]
    assert distance(ours, torch.autograd.grad(hidden.sum(), exact.parameters())) < 1e-5


@kernels
def test_what_is_opened_is_what_the_equations_say(name):
    """h_t follows from the gates by the last line of each cell's equations."""
    made, inputs = module(name, 3, 10), sequences((3, 7, 3))
    states, gates = open_layer(KERNELS[name], inputs, full(inputs), weights(made))
    h = states["hidden"]
    assert torch.equal(h, run(name, inputs, made)[0].detach())
    before = torch.cat([torch.zeros(3, 1, 10), h[:, :-1]], dim=1)
    if name == "gru":
        z, n = gates["update"], gates["candidate"]
        assert_close((1 - z) * n + z * before, h, atol=1e-6, rtol=0)
    elif name == "lstm":
        c = states["cell"]
        before = torch.cat([torch.zeros(3, 1, 10), c[:, :-1]], dim=1)
        assert_close(
            gates["forget"] * before + gates["input"] * gates["candidate"], c, atol=1e-6, rtol=0
        )
        assert_close(gates["output"] * torch.tanh(c), h, atol=1e-6, rtol=0)
    else:
        assert gates == {}


@kernels
def test_a_nan_comes_out_and_no_clamp_swallows_it(name):
    made, inputs = module(name, 2, 8), sequences((4, 5, 2))
    inputs[2, 3, 0] = torch.nan
    outputs, _ = run(name, inputs, made)
    assert outputs[2, 3:].isnan().all()
    assert outputs[[0, 1, 3]].isfinite().all()
    assert outputs[2, :3].isfinite().all()
    with torch.no_grad():
        weights(made)[1][0, 0] = torch.nan
    assert run(name, sequences((4, 5, 2)), made)[0].isnan().any()


@kernels
def test_passes_that_wait_for_their_backward_do_not_share_memory(name):
    """Arrays are used again only when nobody refers to them."""
    made = module(name, 2, 8)
    one, two = sequences((4, 5, 2), seed=1), sequences((4, 5, 2), seed=2)
    wanted = [
        torch.autograd.grad(run(name, it, made)[0].sum(), made.parameters()) for it in (one, two)
    ]
    first, _ = run(name, one, made)
    kept = first.detach().clone()
    second, _ = run(name, two, made)
    assert torch.equal(first, kept)
    found = [torch.autograd.grad(it.sum(), made.parameters()) for it in (first, second)]
    for ours, theirs in zip(found, wanted, strict=True):
        assert distance(ours, theirs) == 0


@kernels
def test_two_threads_give_one_threads_numbers(name):
    made, inputs = module(name, 2, 24), sequences((50, 9, 2)).requires_grad_()
    pull = torch.randn(50, 9, 24)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        outputs, _ = run(name, inputs, made)
        found.append((outputs, gradients(outputs, inputs, made, pull)))
    torch.set_num_threads(before)
    for outputs, ours in found[1:]:
        assert torch.equal(outputs, found[0][0])
        assert distance(ours, found[0][1]) < 1e-6


def ragged(shape):
    """Lengths from 1 to T, in no order, and for the first row of several an empty sequence."""
    batch, steps = shape[:2]
    lengths = torch.linspace(steps, 1, batch).long()
    return lengths if batch == 1 else torch.cat([torch.tensor([0]), lengths[1:].roll(1)])


@kernels
@shapes
def test_a_layer_runs_no_further_than_a_sequence_does(name, shape):
    """What stands past a length may be NaN. Each sequence alone in float64 is the truth."""
    made, exact = module(name, *shape[2:]), module(name, *shape[2:]).double()
    lengths, pull = ragged(shape), torch.randn(*shape[:2], shape[3])
    past = torch.arange(shape[1]) >= lengths.unsqueeze(1)
    inputs = sequences(shape).masked_fill(past.unsqueeze(-1), torch.nan).requires_grad_()
    outputs, last = run_layer(KERNELS[name], inputs, lengths, weights(made))
    ours = gradients(outputs, inputs, made, pull)
    assert (outputs[past] == 0).all()
    assert (ours[0][past] == 0).all()
    assert all((part[lengths < shape[1]] == 0).all() for part in last)
    rows = [row for row in range(shape[0]) if lengths[row]]
    alone = [
        inputs[row : row + 1, : lengths[row]].detach().double().requires_grad_() for row in rows
    ]
    loss = torch.zeros(())
    for row, one in zip(rows, alone, strict=True):
        theirs = exact(one)[0]
        assert_close(outputs[row, : lengths[row]].double(), theirs[0], atol=1e-5, rtol=0)
        loss = loss + (theirs[0] * pull[row, : lengths[row]]).sum()
    *of_inputs, w_x, w_h, b_x, b_h = torch.autograd.grad(loss, [*alone, *exact.parameters()])
    assert distance(ours[1:], [w_x, w_h, b_x, b_h]) < 1e-5
    of_rows = [ours[0][row, : lengths[row]] for row in rows]
    assert distance([torch.cat(of_rows)], [torch.cat([one[0] for one in of_inputs])]) < 1e-5


@kernels
@pytest.mark.parametrize("batch", [4, 5])
def test_a_state_that_overflows_where_nothing_is_asked_poisons_no_gradient(name, batch):
    """W_h = 1.15 I: with ReLU, a bias alone overflows within 700 steps."""
    made, inputs = module(name, 2, 8), sequences((batch, 1000, 2))
    with torch.no_grad():
        for part in weights(made)[1].chunk(len(weights(made)[1]) // 8):
            part.copy_(1.15 * torch.eye(8))
        for bias in weights(made)[2:]:
            bias.fill_(0.5)
    lengths = torch.full((batch,), 3)
    outputs, _ = run_layer(KERNELS[name], inputs, lengths, weights(made))
    assert outputs.isfinite().all()
    found = torch.autograd.grad(outputs.sum(), made.parameters())
    short, _ = run(name, inputs[:, :3], made)
    assert distance(found, torch.autograd.grad(short.sum(), made.parameters())) < 1e-6
    assert all(gradient.isfinite().all() for gradient in found)


def test_rows_that_fill_the_batch_never_leave_zero():
    """One sequence whose state stays zero, where the bias would blow up a row of zeros."""
    made = module("rnn_relu", 1, 8)
    with torch.no_grad():
        weights(made)[0].fill_(-2.0)
        weights(made)[1].copy_(1.15 * torch.eye(8))
        for bias in weights(made)[2:]:
            bias.fill_(0.5)
    outputs, _ = run("rnn_relu", torch.ones(1, 1000, 1), made)
    found = torch.autograd.grad(outputs.sum(), made.parameters())
    assert all((gradient == 0).all() for gradient in found)


def test_other_types_are_left_to_torch():
    made, inputs = module("gru", 2, 8), sequences((4, 5, 2))
    assert applies(inputs, weights(made))
    assert not applies(inputs.double(), weights(made.double()))
    assert not applies(inputs[:0], weights(module("gru", 2, 8)))


@kernels
def test_under_autocast_a_layer_computes_in_float32(name):
    made, inputs = module(name, 2, 8), sequences((4, 5, 2))
    wanted, _ = run(name, inputs.bfloat16().float(), made)
    with torch.autocast("cpu", torch.bfloat16):
        assert applies(inputs.bfloat16(), weights(made))
        found, _ = run(name, inputs.bfloat16(), made)
    assert torch.equal(found, wanted)


@kernels
def test_what_an_earlier_pass_left_in_its_room_reaches_nothing(name):
    """And the columns that fill H = 5 up to 8 are zeros, whoever wrote there before."""
    shape = (40, 6, 3, 5)
    (outputs, grads), _ = both(name, shape, torch.ones(40, 6, 5))
    wanted = outputs.detach().clone(), [gradient.clone() for gradient in grads]
    del outputs, grads  # views of the room
    for array in _kept:
        array.fill(np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = both(name, shape, torch.ones(40, 6, 5))
    assert_close((found[0].detach(), list(found[1])), wanted, rtol=0, atol=0)
    lines = [array for array in _kept if array.shape == (6 + 1, 40, 3 + 1 + 8)]
    used = [line for line in lines if np.isfinite(line[1:, :, 4:9]).all()]
    assert used
    assert all((line[:, :, 9:] == 0).all() for line in used)
