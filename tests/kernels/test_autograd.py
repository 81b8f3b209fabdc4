"""A fused layer in torch's autograd: higher gradients, overwritten tensors, and repeated passes."""

import warnings

import pytest
import torch

from lookback.kernels.layer import run_layer

from .layers import (
    KERNELS,
    distance,
    full,
    kernels,
    module,
    run,
    sequences,
    weights,
)


def of_kernel(name, lengths, state=()):
    def outputs(inputs, *weights):
        return run_layer(KERNELS[name], inputs, lengths, weights, state)[0]

    return outputs


@kernels
def test_gradients_of_first_and_second_order_are_those_of_finite_differences(name):
    """In float32, so the differences are wide, and the tolerances with them."""
    made, inputs = module(name, 2, 3), sequences((3, 4, 2)).requires_grad_()
    if name == "rnn_relu":  # no pre-activation near the kink
        torch.nn.init.constant_(weights(made)[2], 5.0)
    outputs = of_kernel(name, torch.tensor([4, 2, 3]))
    arguments = (inputs, *(weight.detach().requires_grad_() for weight in weights(made)))
    wide = {"eps": 1e-2, "atol": 1e-2, "rtol": 1e-2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not a double precision")
        assert torch.autograd.gradcheck(outputs, arguments, **wide)
        assert torch.autograd.gradgradcheck(
            outputs, arguments, **wide, gen_non_contig_grad_outputs=True
        )


@kernels
@pytest.mark.parametrize("squared", [False, True])
def test_a_second_derivative_is_that_of_torchs_module(name, squared):
    """Also where the loss is linear, so that only the layer itself has a second derivative."""
    made, exact = module(name, 3, 9), module(name, 3, 9).double()
    inputs = sequences((5, 6, 3)).requires_grad_()
    doubled = inputs.detach().double().requires_grad_()
    found = []
    for outputs, of, one in (
        (run(name, inputs, made)[0], inputs, made),
        (exact(doubled)[0], doubled, exact),
    ):
        loss = outputs.square().sum() if squared else outputs.sum()
        (slope,) = torch.autograd.grad(loss, of, create_graph=True)
        second = torch.autograd.grad(
            slope.square().sum(), [of, *one.parameters()], allow_unused=True
        )
        found.append([slope, *(grad for grad in second if grad is not None)])
    assert len(found[0]) == len(found[1])
    assert distance(*found) < 1e-4


@kernels
def test_a_second_derivative_after_a_state_is_that_of_torchs_module(name):
    made, exact = module(name, 2, 5), module(name, 2, 5).double()
    inputs = sequences((3, 6, 2))
    _, state = run(name, inputs[:, :2], made)
    rest = inputs[:, 2:].clone().requires_grad_()
    doubled = rest.detach().double().requires_grad_()
    start = tuple(part.double().unsqueeze(0) for part in state)
    ours, _ = run(name, rest, made, state)
    theirs = exact(doubled, start if name == "lstm" else start[0])[0]
    found = []
    for outputs, of in ((ours, rest), (theirs, doubled)):
        (slope,) = torch.autograd.grad(outputs.sum(), of, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), of))
    assert distance(*found) < 1e-4


@kernels
def test_one_tensor_that_serves_as_two_weights_has_the_sum_of_both_gradients(name):
    made, inputs = module(name, 8, 8), sequences((3, 4, 8))
    w_x, _, b_x, _ = weights(made)
    shared = (w_x, w_x, b_x, b_x)
    outputs, _ = run_layer(KERNELS[name], inputs, full(inputs), shared)
    wanted = torch.autograd.grad(outputs.sum(), [w_x, b_x], retain_graph=True)
    assert (
        distance(torch.autograd.grad(outputs.sum(), [w_x, b_x], create_graph=True), wanted) < 1e-5
    )


@kernels
def test_overwritten_outputs_or_weights_are_an_error_and_no_wrong_gradient(name):
    made, inputs = module(name, 2, 8), sequences((4, 5, 2))

    def overwrite_outputs(outputs):
        return outputs.mul_(2)

    def overwrite_a_copy_of_the_outputs(outputs):
        outputs.detach().zero_()
        return outputs

    def overwrite_a_weight(outputs):
        with torch.no_grad():
            weights(made)[1].add_(1)
        return outputs

    for overwrite in (overwrite_outputs, overwrite_a_copy_of_the_outputs, overwrite_a_weight):
        with pytest.raises(RuntimeError, match="inplace"):
            overwrite(run(name, inputs, made)[0]).sum().backward()


@kernels
def test_a_second_backward_needs_the_graph_to_be_kept(name):
    made, inputs = module(name, 2, 8), sequences((4, 5, 2))
    outputs, _ = run(name, inputs, made)
    kept = [torch.autograd.grad(outputs.sum(), made.parameters(), retain_graph=True) for _ in "ab"]
    assert distance(*kept) == 0
    torch.autograd.grad(outputs.sum(), made.parameters())
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(outputs.sum(), made.parameters())


def test_a_gradient_to_the_first_state_is_refused_and_not_left_out():
    made, inputs = module("gru", 2, 8), sequences((4, 5, 2))
    with pytest.raises(ValueError, match="Detach"):
        run("gru", inputs, made, (torch.zeros(4, 8, requires_grad=True),))
