"""minGRU and minLSTM: the paper's listing, both directions, what they start from."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from lookback.errors import NotApplicable, UserError
from lookback.models.base import Initialisation, reversed_within
from lookback.models.mingru import MinGRU
from lookback.models.minimal import positive
from lookback.models.minlstm import MinLSTM
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN, LAYERS, build, questions

RECIPE = Initialisation("orthogonal", "xavier_uniform", 1.5)
both = pytest.mark.parametrize("kind", [MinGRU, MinLSTM])


def of_appendix_b(model, inputs):
    """Feng et al. 2024, appendix B, in log space, from h_{-1} = 0."""

    def log_g(x):
        return torch.where(x >= 0, (functional.relu(x) + 0.5).log(), -functional.softplus(-x))

    read = model.from_input[0](inputs)
    if isinstance(model, MinGRU):
        k, h = read.chunk(2, dim=-1)
        log_a, log_b = -functional.softplus(k), -functional.softplus(-k) + log_g(h)
    else:
        f, i, h = read.chunk(3, dim=-1)
        difference = functional.softplus(-f) - functional.softplus(-i)
        log_a = -functional.softplus(difference)
        log_b = -functional.softplus(-difference) + log_g(h)
    sums = log_a.cumsum(dim=1)
    return (sums + torch.logcumsumexp(log_b - sums, dim=1)).exp()


@both
def test_states_are_those_of_the_papers_listing_in_log_space(kind):
    torch.manual_seed(0)
    model = make_layer(kind, FEATURES, HIDDEN, layers=1).double()
    inputs = torch.randn(3, 300, FEATURES, dtype=torch.float64)
    outputs = model.outputs(inputs, torch.tensor([300] * 3))
    assert_close(outputs, of_appendix_b(model, inputs), atol=1e-9, rtol=1e-9)


@both
def test_gates_far_beyond_saturation_overflow_nothing_over_4096_steps(kind):
    """Logits of ±200, where f and i both underflow: every state and gradient stays finite."""
    torch.manual_seed(0)
    model = make_layer(kind, FEATURES, HIDDEN, layers=1)
    with torch.no_grad():
        model.from_input[0].weight.mul_(200)
    inputs = torch.randn(1, 4096, FEATURES, requires_grad=True)
    asked = inputs, torch.tensor([4096]), torch.tensor([[4095]])
    features = model(*asked)
    (gradient,) = torch.autograd.grad(features.sum(), inputs)
    assert gradient.isfinite().all()
    slow = make_layer(kind, FEATURES, HIDDEN, layers=1).double()
    slow.load_state_dict(model.state_dict())
    expected = slow.trace(inputs.double(), *asked[1:]).features
    assert_close(features.double(), expected, atol=0, rtol=1e-4)


@pytest.mark.parametrize("name", ["mingru", "minlstm", "lru"])
def test_steps_are_the_trace_with_layers_in_the_order_said(name):
    model = build(name).double()
    inputs, lengths, query = questions(dtype=torch.float64)
    trace = model.trace(inputs, lengths, query)
    state, outputs = model.initial_state(3), model.outputs(inputs, lengths)
    assert state.shape[-1] == model.state_size
    for t, now in enumerate(inputs.unbind(dim=1)):
        output, state = model.step(now, state)
        flat = torch.cat([trace.states[f"hidden/{layer}"][:, t] for layer in range(LAYERS)], dim=-1)
        assert_close(state, flat, atol=1e-12, rtol=0)
        assert_close(output, outputs[:, t], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["mingru", "minlstm", "lru"])
def test_two_directions_have_no_step(name):
    model = build(f"{name}_bidirectional")
    assert model.bidirectional
    with pytest.raises(NotApplicable, match="no single step"):
        model.step(torch.zeros(1, FEATURES), model.initial_state(1))


@both
def test_the_second_direction_is_the_first_of_the_sequence_back_to_front(kind):
    torch.manual_seed(0)
    model = make_layer(kind, FEATURES, HIDDEN, layers=1, bidirectional=True)
    one = make_layer(kind, FEATURES, HIDDEN, layers=1)
    inputs, lengths, query = questions()
    trace = model.trace(inputs, lengths, query)
    outputs = model.outputs(inputs, lengths)
    for side, end in enumerate(("", "_reverse")):
        one.from_input.load_state_dict(getattr(model, f"from_input{end}").state_dict())
        read = reversed_within(inputs, lengths) if end else inputs
        states = one.outputs(read, lengths)
        states = reversed_within(states, lengths) if end else states
        there = torch.arange(7) < lengths.unsqueeze(1)
        assert_close(trace.states[f"hidden{end}/0"][there], states[there])
        assert_close(outputs.chunk(2, dim=-1)[side][there], states[there])


def test_candidates_are_positive_and_join_at_zero():
    """g(x) = x + 0.5 from 0 on, σ(x) below: 0.5 on both sides of 0."""
    x = torch.tensor([-100.0, -1.0, -1e-7, 0.0, 1.0, 100.0])
    expected = torch.tensor([0.0, 0.2689414213699951, 0.5, 0.5, 1.5, 100.5])
    assert_close(positive(x), expected, atol=1e-7, rtol=1e-6)


def test_a_forget_bias_of_minlstm_keeps_the_share_that_its_docstring_says():
    model = make_layer(MinLSTM, FEATURES, HIDDEN, layers=2, bidirectional=True)
    model.initialise(Initialisation("orthogonal", "xavier_uniform", 1.0))
    blank = torch.zeros(1, 1, FEATURES)
    gates = model.trace(blank, torch.tensor([1]), torch.tensor([[0]])).gates
    kept = 0.7310585786300049 / (0.7310585786300049 + 0.5)
    for name in ("forget/0", "forget_reverse/0"):
        assert_close(gates[name], torch.full((1, 1, HIDDEN), kept))


def test_a_forget_bias_leaves_mingru_alone_as_it_does_a_gru():
    model = make_layer(MinGRU, FEATURES, HIDDEN, layers=2)
    model.initialise(RECIPE)
    assert all((linear.bias == 0).all() for linear in model.from_input)


@both
def test_each_gates_matrix_starts_by_itself(kind):
    """Glorot and Bengio 2010: U(±sqrt(6 / (in + out))) of one gate; torch's own: U(±1/√in)."""
    model = make_layer(kind, FEATURES, 64, layers=2)
    for way, width in (("xavier_uniform", None), ("uniform", 0)):
        model.initialise(Initialisation("orthogonal", way, 1.0))
        for linear, features in zip(model.from_input, (FEATURES, 64), strict=True):
            bound = (6 / (features + 64)) ** 0.5 if width is None else features**-0.5
            for block in linear.weight.split(64):
                assert 0.9 * bound < block.abs().max() <= bound


@both
@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hidden_size": 0}, "`hidden_size` is 0. Make it 1 or more"),
        ({"hidden_size": 4, "layers": 0}, "`layers` is 0"),
        ({"hidden_size": 4, "dropout": 0.1}, "between layers only"),
        ({"hidden_size": 4, "layers": 2, "dropout": 1.0}, "less than 1"),
    ],
)
def test_sizes_that_it_cannot_take_are_mistakes(kind, sizes, said):
    with pytest.raises(UserError, match=said):
        make_layer(kind, FEATURES, **{"layers": 1, **sizes})
