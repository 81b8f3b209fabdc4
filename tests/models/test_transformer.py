"""The transformer against torch's own encoder layer, and its positions in closed form."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lookback.errors import NotApplicable, UserError
from lookback.models.base import Initialisation
from lookback.models.transformer import Transformer, sinusoids
from lookback.models.transformer_layer import rotate
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN, build, questions

THEIRS = {
    "norm1": "norm_attention",
    "self_attn.out_proj": "join",
    "norm2": "norm_feedforward",
    "linear1": "widen",
    "linear2": "narrow",
}


def torchs_own(model, feedforward):
    """nn.TransformerEncoder with the model's weights; it starts after the positions."""
    layer = nn.TransformerEncoderLayer(
        HIDDEN, 2, feedforward, dropout=0.0, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(HIDDEN)
    encoder = nn.TransformerEncoder(
        layer, len(model.stack.layers), norm, enable_nested_tensor=False
    ).double()
    weights = {f"norm.{key}": value for key, value in model.stack.norm.state_dict().items()}
    for number, block in enumerate(model.stack.layers):
        ours = block.state_dict()
        for kind in ("weight", "bias"):
            weights[f"layers.{number}.self_attn.in_proj_{kind}"] = torch.cat(
                [ours[f"{name}.{kind}"] for name in ("query", "key", "value")]
            )
            for theirs, name in THEIRS.items():
                weights[f"layers.{number}.{theirs}.{kind}"] = ours[f"{name}.{kind}"]
    encoder.load_state_dict(weights)
    return encoder.eval()


@pytest.mark.parametrize("causal", [False, True])
def test_layers_are_torchs_encoder_layers_normalised_first(causal):
    model = build("transformer", causal=causal).double()
    inputs, lengths, query = questions(dtype=torch.float64)
    entered = model.enter(inputs)
    z = entered + sinusoids(entered)
    padding = torch.arange(7) >= lengths.unsqueeze(1)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
    theirs = torchs_own(model, 5)(z, mask=mask, src_key_padding_mask=padding)
    ours = model(inputs, lengths, query)
    for row, column in (query >= 0).nonzero().tolist():
        expected = theirs[row, query[row, column]]
        assert_close(ours[row, column], expected, atol=1e-10, rtol=0)


def test_positions_see_only_how_far_apart_two_steps_are():
    """P[t] · P[t + k] = Σ_i cos(k / 10000^(2i/H)), wherever t is: no length is too long."""
    table = sinusoids(torch.zeros(1, 5000, 16, dtype=torch.float64))
    frequency = 10000.0 ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    for apart in (0, 1, 100):
        products = (table[: 5000 - apart] * table[apart:]).sum(dim=1)
        expected = torch.cos(apart * frequency).sum().expand_as(products)
        assert_close(products, expected, atol=1e-9, rtol=0)


def test_under_autocast_positions_are_those_of_single_precision():
    """In bfloat16, 784 positions would have 453 different rows."""
    model = build("transformer")
    inputs = torch.zeros(1, 784, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        positioned = model._positioned(inputs)
    assert len(positioned[0].unique(dim=0)) == 784
    assert_close(
        positioned - model.enter.bias.bfloat16().float(),
        model._positioned(inputs) - model.enter.bias,
    )
    step = torch.arange(784, dtype=torch.float64).unsqueeze(1)
    angle = step / 10000 ** (torch.arange(0, HIDDEN, 2, dtype=torch.float64) / HIDDEN)
    exact = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
    assert_close(sinusoids(torch.zeros(1, 784, HIDDEN)), exact, atol=1e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_rotary_positions_err_no_more_than_their_vectors_are_rounded(dtype):
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 784, 16).to(dtype)
    step = torch.arange(784).unsqueeze(0)
    scores = (rotate(q, step).double() @ rotate(k, step).double().mT)[0, 0]
    exact = (rotate(q.double(), step) @ rotate(k.double(), step).mT)[0, 0]
    assert (scores - exact).norm() < torch.finfo(dtype).eps * exact.norm()


def test_attention_weights_of_a_query_sum_to_one_over_its_own_sequence():
    model = build("transformer")
    inputs, lengths, query = questions()
    attention = model.trace(inputs, lengths, query).attention
    assert_close(attention.sum(dim=-1), torch.ones(3, 2))
    past = torch.arange(7) >= lengths.unsqueeze(1)
    assert (attention.masked_select(past.unsqueeze(1)) == 0).all()


def test_without_positions_and_mask_the_order_of_steps_means_nothing(monkeypatch):
    """So the only order that it knows comes from P."""
    model = build("transformer", layers=1)
    inputs, _, _ = questions(1, 7)
    lengths, query = torch.tensor([7]), torch.tensor([[6]])
    swapped = inputs[:, [3, 1, 2, 0, 4, 5, 6]]
    assert not torch.allclose(model(inputs, lengths, query), model(swapped, lengths, query))
    monkeypatch.setattr("lookback.models.transformer.sinusoids", torch.zeros_like)
    assert_close(model(inputs, lengths, query), model(swapped, lengths, query))


def test_every_matrix_starts_xavier_uniform_with_zero_bias_and_plain_norms():
    """Glorot and Bengio 2010: U(±sqrt(6 / (in + out)))."""
    model = make_layer(Transformer, FEATURES, 64, layers=2, heads=4, feedforward=128)
    model.initialise(Initialisation("orthogonal", "uniform", 1.0))
    for key, value in model.state_dict().items():
        if "bias" in key:
            assert (value == 0).all(), key
        elif "norm" in key:
            assert (value == 1).all(), key
        else:
            bound = (6 / sum(value.shape)) ** 0.5
            assert 0.9 * bound < value.abs().max() <= bound, key


def test_heads_that_do_not_divide_the_width_are_a_mistake_that_names_the_next_width():
    with pytest.raises(UserError, match="Make it 12"):
        make_layer(Transformer, FEATURES, 10, layers=1, heads=4, feedforward=8)


def rotary(**more):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "layers": 2, "heads": 2, "feedforward": 5, **more}
    return make_layer(Transformer, FEATURES, **sizes, positions="rotary").double().eval()


def test_scores_of_rotary_positions_know_only_how_far_apart_two_steps_are():
    """Su et al. 2021, eq. 16: ⟨R_m q, R_n k⟩ = ⟨q, R_{n-m} k⟩, wherever m is."""
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64).unbind(0)
    for apart in (0, 1, 17):
        here = rotate(k, torch.tensor([[apart]]))
        expected = (q * here).sum()
        for m in (0, 5, 4000):
            both = rotate(q, torch.tensor([[m]])), rotate(k, torch.tensor([[m + apart]]))
            assert_close((both[0] * both[1]).sum(), expected, atol=1e-9, rtol=0)


def test_a_rotation_is_that_of_complex_numbers():
    """(q_{2i} + i q_{2i+1}) exp(i m θ_i), θ_i = 10000^(-2i/d): Su et al. 2021, eq. 12."""
    q = torch.randn(1, 2, 5, 6, dtype=torch.float64)
    step = torch.tensor([[0, 1, 2, 50, 999]])
    theta = 10000.0 ** (-torch.arange(0, 6, 2, dtype=torch.float64) / 6)
    spin = torch.polar(torch.ones(5, 3, dtype=torch.float64), step[0].unsqueeze(1) * theta)
    expected = torch.view_as_real(torch.view_as_complex(q.unflatten(-1, (3, 2))) * spin).flatten(-2)
    assert_close(rotate(q, step), expected)


def test_with_rotary_positions_a_whole_sequence_may_move_within_its_window():
    """Two blank causal steps in front of a sequence change no score among its own steps."""
    model = rotary(layers=1, causal=True)
    inputs = torch.randn(1, 5, FEATURES, dtype=torch.float64)
    asked = torch.tensor([5]), torch.tensor([[4]])
    heads = model.trace(inputs, *asked).heads
    moved = torch.cat([torch.zeros(1, 2, FEATURES, dtype=torch.float64), inputs], dim=1)
    later = model.trace(moved, torch.tensor([7]), torch.tensor([[6]])).heads[..., 2:]
    assert_close(later / later.sum(dim=-1, keepdim=True), heads)
    other = make_layer(Transformer, FEATURES, 8, layers=1, heads=2, feedforward=5).double()
    heads = other.trace(inputs, *asked).heads
    later = other.trace(moved, torch.tensor([7]), torch.tensor([[6]])).heads[..., 2:]
    assert not torch.allclose(later / later.sum(dim=-1, keepdim=True), heads)


def test_order_means_something_with_rotary_positions():
    model = rotary()
    inputs = questions(1, 7, dtype=torch.float64)[0]
    asked = torch.tensor([7]), torch.tensor([[6]])
    swapped = inputs[:, [3, 1, 2, 0, 4, 5, 6]]
    assert not torch.allclose(model(inputs, *asked), model(swapped, *asked))


def test_rotary_positions_want_heads_of_an_even_width():
    with pytest.raises(UserError, match=r"gives each of 2 heads 3 components.*`hidden_size` to 8"):
        rotary(hidden_size=6)


def learned(longest=7, **more):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "layers": 2, "heads": 2, "feedforward": 5, **more}
    return (
        make_layer(Transformer, FEATURES, **sizes, positions="learned", longest=longest)
        .double()
        .eval()
    )


def test_learned_positions_that_hold_the_sinusoids_answer_as_these_do():
    model, (inputs, lengths, query) = learned(), questions(dtype=torch.float64)
    with torch.no_grad():
        model.table.copy_(sinusoids(torch.zeros(1, 7, 8, dtype=torch.float64)))
    expected = (
        make_layer(Transformer, FEATURES, 8, layers=2, heads=2, feedforward=5).double().eval()
    )
    weights = model.state_dict()
    del weights["table"]
    expected.load_state_dict(weights)
    assert_close(model(inputs, lengths, query), expected(inputs, lengths, query))
    found = model.trace(inputs, lengths, query).features
    assert_close(found, expected(inputs, lengths, query))


def test_learned_positions_are_learned_where_there_were_steps():
    model, (inputs, lengths, query) = learned(longest=9), questions(dtype=torch.float64)
    model(inputs, lengths, query).square().sum().backward()
    assert (model.table.grad[:7] != 0).any(dim=1).all()
    assert (model.table.grad[7:] == 0).all()


def test_past_its_learned_positions_a_transformer_says_that_it_has_none():
    model = learned(longest=6)
    asked = torch.tensor([7]), torch.tensor([[6]])
    with pytest.raises(NotApplicable, match="6 learned positions has no position for step 7"):
        model(torch.zeros(1, 7, FEATURES, dtype=torch.float64), *asked)


def test_a_task_longer_than_the_learned_positions_is_a_mistake_before_training():
    model = learned(longest=6)
    model.initialise(Initialisation("orthogonal", "uniform", 1.0, length=6))
    with pytest.raises(UserError, match="Set the model's `longest` to 7"):
        model.initialise(Initialisation("orthogonal", "uniform", 1.0, length=7))


def test_learned_positions_start_small_and_the_other_weights_as_without_them():
    """Radford et al. 2018: N(0, 0.02²)."""
    with_table = make_layer(Transformer, FEATURES, 8, 1, 2, 5, positions="learned", longest=500)
    without = make_layer(Transformer, FEATURES, 8, 1, 2, 5)
    for model in (with_table, without):
        torch.manual_seed(3)
        model.initialise(Initialisation("orthogonal", "uniform", 1.0))
    for key, value in without.state_dict().items():
        assert_close(with_table.state_dict()[key], value, atol=0, rtol=0)
    assert_close(with_table.table.std(), torch.tensor(0.02), atol=0.001, rtol=0)


@pytest.mark.parametrize("name", ["transformer_causal", "transformer_rotary", "lstm_transformer"])
def test_attention_by_layer_is_that_of_all_steps_at_the_queries(name):
    model, (inputs, lengths, query) = build(name).double(), questions(dtype=torch.float64)
    seen = []
    for layer in model.stack.layers:
        layer.register_forward_hook(lambda layer, given, out: seen.append((layer, given)))
    found = model.attention_by_layer(inputs, lengths, query)
    (layer, (_, z, every, visible)) = seen[0]
    first = layer.weights(z, z, every, visible)
    for row, column in (query >= 0).nonzero().tolist():
        assert_close(found[0][row, :, column], first[row, :, query[row, column]])
    assert_close(found[1], model.trace(inputs, lengths, query).heads)
