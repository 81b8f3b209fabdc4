"""What the recurrent models share: step by step, and how their weights start."""

import copy

import pytest
import torch
from torch.testing import assert_close

from lookback.errors import NotApplicable, UserError
from lookback.models.base import Initialisation
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.rnn import RNN
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN, LAYERS, RECURRENT, build, questions

recurrent_models = pytest.mark.parametrize("name", RECURRENT)


def roll(model, inputs, state):
    """Outputs (B, T, H) and states (B, T, S), one `step` after another."""
    outputs, states = [], []
    for now in inputs.unbind(dim=1):
        output, state = model.step(now, state)
        outputs.append(output)
        states.append(state)
    return torch.stack(outputs, dim=1), torch.stack(states, dim=1)


def blocks(model, matrix):
    """Each gate's own H rows of every «weight_hh» or «weight_ih»."""
    for name, value in model.state_dict().items():
        if matrix in name:
            yield from value.split(model.output_size)


@recurrent_models
def test_steps_are_the_trace_with_layers_and_parts_in_the_order_said(name):
    model = build(name).double()
    inputs, _, query = questions(dtype=torch.float64)
    lengths = torch.full((3,), 7)
    outputs, states = roll(model, inputs, model.initial_state(3))
    trace = model.trace(inputs, lengths, query)
    parts = [f"{part}/{layer}" for layer in range(LAYERS) for part in model.parts]
    flat = torch.cat([trace.states[part] for part in parts], dim=-1)
    assert states.shape[-1] == model.state_size == LAYERS * len(model.parts) * HIDDEN
    assert_close(states, flat, atol=1e-12, rtol=0)
    assert_close(outputs, trace.states[f"hidden/{LAYERS - 1}"], atol=1e-12, rtol=0)


@recurrent_models
def test_gradients_of_hidden_states_are_those_of_rolling_on_from_a_pushed_state(name):
    model = build(name, layers=1).double()
    inputs, lengths, query = questions(1, 7, dtype=torch.float64)
    trace = model.trace(inputs, lengths, query[:, :1], differentiable=True)
    gradients = trace.gradients(trace.features.sum())["hidden/0"]
    _, states = roll(model, inputs, model.initial_state(1))
    pushes = 1e-5 * torch.eye(model.state_size, dtype=torch.float64)[:HIDDEN]
    for step in range(6):
        rest = inputs[:, step + 1 :].expand(HIDDEN, -1, -1)
        ends = [roll(model, rest, states[:, step] + push)[0][:, -1] for push in (pushes, -pushes)]
        slopes = (ends[0] - ends[1]).sum(dim=1) / 2e-5
        assert_close(gradients[0, step], slopes, atol=1e-8, rtol=0)


@recurrent_models
def test_gradient_of_a_kernels_output_is_the_direct_term_alone(name):
    """Why `trace` walks: the stacked output lies beside the path, so early steps get zero."""
    model = build(name)
    inputs, lengths, query = questions(1, 7)
    outputs = model.outputs(inputs, lengths)
    (direct,) = torch.autograd.grad(outputs[:, 6].sum(), outputs)
    trace = model.trace(inputs, lengths, query[:, :1], differentiable=True)
    total = trace.gradients(trace.features.sum())[f"hidden/{LAYERS - 1}"]
    assert_close(total[:, 6], direct[:, 6])
    assert (direct[:, :6] == 0).all()
    assert (total[:, :6].abs().sum(dim=-1) > 0).all()


@recurrent_models
def test_orthogonal_holds_for_each_gates_matrix_by_itself(name):
    model = build(name)
    model.initialise(Initialisation("orthogonal", "xavier_uniform", 1.0))
    found = list(blocks(model, "weight_hh"))
    assert len(found) == LAYERS * {"lstm": 4, "gru": 3}.get(name.partition("_")[0], 1)
    for block in found:
        assert_close(block @ block.T, torch.eye(HIDDEN), atol=1e-5, rtol=0)


@recurrent_models
def test_identity_and_xavier_hold_for_each_gates_matrix_by_itself(name):
    """Glorot and Bengio 2010: U(±sqrt(6 / (in + out))), of one gate and not of all together."""
    model = build(name, hidden_size=64)
    model.initialise(Initialisation("identity", "xavier_uniform", 1.0))
    for block in blocks(model, "weight_hh"):
        assert torch.equal(block, torch.eye(64))
    for block in blocks(model, "weight_ih"):
        bound = (6 / sum(block.shape)) ** 0.5
        assert 0.9 * bound < block.abs().max() <= bound


@recurrent_models
def test_uniform_is_torchs_own_range(name):
    model = build(name, hidden_size=64)
    model.initialise(Initialisation("uniform", "uniform", 1.0))
    for key, value in model.state_dict().items():
        if "weight_" in key:
            assert 0.95 / 8 < value.abs().max() <= 1 / 8


@recurrent_models
def test_biases_start_at_zero_but_for_the_forget_gate_whose_bias_is_set_once(name):
    model = build(name)
    model.initialise(Initialisation("orthogonal", "xavier_uniform", 1.5))
    for layer in range(LAYERS):
        _, _, b_x, b_h = model.kernel.all_weights[layer]
        both = (b_x + b_h).detach()
        expected = torch.zeros_like(both)
        if "lstm" in name:
            expected[HIDDEN : 2 * HIDDEN] = 1.5
        assert torch.equal(both, expected)


def test_a_forget_bias_opens_the_forget_gate_as_far_as_it_says():
    """Blank inputs and a blank state leave only the bias: σ(2) for forget, σ(0) for the others."""
    model = make_layer(LSTM, FEATURES, HIDDEN)
    model.initialise(Initialisation("orthogonal", "xavier_uniform", 2.0))
    blank = torch.zeros(1, 1, FEATURES)
    gates = model.trace(blank, torch.tensor([1]), torch.tensor([[0]])).gates
    assert_close(gates["forget/0"], torch.full((1, 1, HIDDEN), 0.8807970779778823))
    assert_close(gates["input/0"], torch.full((1, 1, HIDDEN), 0.5))


def test_dropout_without_a_layer_above_is_a_mistake():
    with pytest.raises(UserError, match="between layers"):
        make_layer(GRU, FEATURES, HIDDEN, layers=1, dropout=0.1)


def test_an_unknown_nonlinearity_is_a_mistake():
    with pytest.raises(UserError, match="tanh or relu"):
        make_layer(RNN, FEATURES, HIDDEN, nonlinearity="sigmoid")


two_directions = pytest.mark.parametrize("name", ["rnn", "rnn_relu", "lstm", "gru"])


def by_torch(model, inputs, lengths):
    """The same weights through torch's module, in float64, each sequence by itself and unpadded."""
    exact = copy.deepcopy(model.kernel).double()
    outputs = torch.zeros(*inputs.shape[:2], model.output_size, dtype=torch.float64)
    for row, length in enumerate(lengths):
        outputs[row, :length] = exact(inputs[row : row + 1, :length].double())[0][0]
    return outputs, exact


@two_directions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_directions_are_torchs_on_sequences_without_padding(name, dtype):
    model = build(name, bidirectional=True)
    inputs, lengths, _ = questions(7, 9)
    real = torch.arange(9) < lengths.unsqueeze(1)
    wanted, exact = by_torch(model, inputs, lengths)
    outputs = model.to(dtype).outputs(inputs.to(dtype), lengths)
    assert outputs.shape == (7, 9, 2 * HIDDEN) == (7, 9, model.output_size)
    assert_close(outputs[real].double(), wanted[real], atol=1e-5, rtol=0)
    pull = torch.randn(wanted.shape, dtype=torch.float64) * real.unsqueeze(-1)
    ours = torch.autograd.grad((outputs.double() * pull).sum(), list(model.kernel.parameters()))
    theirs = torch.autograd.grad((wanted * pull).sum(), list(exact.parameters()))
    for found, right in zip(ours, theirs, strict=True):
        assert_close(found.double(), right, atol=1e-5, rtol=1e-5)


@two_directions
def test_two_directions_opened_by_kernel_and_by_the_equations_agree(name):
    model = build(name, bidirectional=True)
    inputs, lengths, query = questions(7, 9)
    real = torch.arange(9) < lengths.unsqueeze(1)
    fast = model.trace(inputs, lengths, query)
    slow = model.trace(inputs, lengths, query, differentiable=True)
    assert {"hidden/0", "hidden_reverse/0", "hidden/1", "hidden_reverse/1"} <= set(fast.states)
    assert_close(fast.features, slow.features, atol=1e-5, rtol=0)
    for kind in ("states", "gates"):
        ours, theirs = getattr(fast, kind), getattr(slow, kind)
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            assert_close(value[real], theirs[key][real], atol=1e-5, rtol=0)


def test_gradients_of_the_backward_states_reach_from_a_query_to_the_end():
    model = build("gru", bidirectional=True, layers=1).double()
    inputs, lengths, _ = questions(1, 5, dtype=torch.float64)
    step = 2
    trace = model.trace(inputs, lengths, torch.tensor([[step]]), differentiable=True)
    # What is read backwards reaches a query from the steps after it.
    found = trace.gradients(trace.features.sum())["hidden_reverse/0"]
    assert (found[0, :step] == 0).all()
    assert (found[0, step:].abs().sum(dim=-1) > 0).all()


@two_directions
def test_gradients_of_the_backward_states_are_those_of_the_sequence_turned_round(name):
    both = build(name, bidirectional=True, layers=1).double()
    one = build(name, layers=1).double()
    backward = {key: value for key, value in both.state_dict().items() if "_reverse" in key}
    one.load_state_dict({key.replace("_reverse", ""): value for key, value in backward.items()})
    inputs, lengths, _ = questions(1, 5, dtype=torch.float64)
    padded = torch.cat([inputs, torch.ones(1, 3, FEATURES)], dim=1)
    trace = both.trace(padded, lengths, torch.tensor([[1]]), differentiable=True)
    alone = one.trace(inputs.flip(1), lengths, torch.tensor([[3]]), differentiable=True)
    found = trace.gradients(trace.features[..., HIDDEN:].sum())
    for key, gradient in alone.gradients(alone.features.sum()).items():
        assert_close(found[key.replace("/", "_reverse/")][:, :5], gradient.flip(1))


def test_two_directions_have_no_step():
    model = build("lstm", bidirectional=True)
    with pytest.raises(NotApplicable, match="a bidirectional model has no single step"):
        model.step(torch.zeros(1, FEATURES), model.initial_state(1))
