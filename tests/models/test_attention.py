"""The attention model's own part, in cases whose answer is known."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.models.attention import AttentionModel
from lookback.models.base import Initialisation
from lookback.models.minlstm import MinLSTM
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN, build, questions


def test_scores_that_are_all_equal_give_the_mean_of_the_states_up_to_the_query():
    model = build("attention")
    torch.nn.init.zeros_(model.score.weight)
    inputs, lengths, _ = questions(2, 7)
    query = torch.tensor([[0, -1], [4, 6]])
    attention = model.trace(inputs, lengths, query).attention
    assert_close(attention[0, 0], torch.eye(7)[0])
    assert_close(attention[1, 0], torch.tensor([0.2] * 5 + [0.0] * 2))
    assert_close(attention[1, 1], torch.full((7,), 1 / 7))


def test_a_key_made_to_stand_out_takes_all_the_weight():
    """Keys read one unit of the state and v weighs it by 10,000: where it is largest wins."""
    model = build("attention")
    with torch.no_grad():
        for linear in (model.from_query, model.from_key):
            linear.weight.zero_()
        model.from_query.bias.zero_()
        model.from_key.weight[0, 2] = 1.0
        model.score.weight.zero_()
        model.score.weight[0, 0] = 1e4
    inputs, lengths, query = questions(1, 7)
    trace = model.trace(inputs, lengths, query[:, :1])
    largest = trace.states["hidden/1"][0, :, 2].argmax()
    assert_close(trace.attention[0, 0], torch.eye(7)[largest], atol=1e-4, rtol=0)


def test_the_encoder_starts_by_the_recipe_and_the_rest_xavier_uniform():
    model = build("attention", hidden_size=64)
    model.initialise(Initialisation("identity", "uniform", 1.0))
    for key, value in model.state_dict().items():
        if "weight_hh" in key:
            assert_close(value, torch.eye(64).repeat(4, 1))
        elif key.endswith("weight"):
            bound = (6 / sum(value.shape)) ** 0.5
            assert 0.8 * bound < value.abs().max() <= bound, key
        elif not key.startswith("encoder"):
            assert (value == 0).all(), key


def test_width_is_the_encoders_width_throughout():
    model = build("attention")
    assert model.output_size == model.encoder.output_size == HIDDEN


MIN_LSTM = partial(make_layer, MinLSTM, layers=1)


def with_heads(heads: int, bidirectional: bool = False) -> AttentionModel:
    torch.manual_seed(0)
    encoder = partial(MIN_LSTM, bidirectional=bidirectional)
    model = make_layer(
        AttentionModel, FEATURES, HIDDEN, encoder, attention="multi_head", heads=heads
    )
    return model.double()


def test_several_heads_are_torchs_multi_head_attention():
    """Over outputs of two directions, so that torch's keys have a width of their own."""
    model = with_heads(3, bidirectional=True)
    inputs, lengths, query = questions(dtype=torch.float64)
    states = model.encoder.outputs(inputs, lengths)
    theirs = nn.MultiheadAttention(
        HIDDEN, 3, bias=False, kdim=2 * HIDDEN, vdim=2 * HIDDEN, batch_first=True
    ).double()
    with torch.no_grad():
        for weight in (theirs.q_proj_weight, theirs.out_proj.weight):
            weight.copy_(torch.eye(HIDDEN))
        theirs.k_proj_weight.copy_(model.from_key.weight)
        theirs.v_proj_weight.copy_(model.from_value.weight)
    last = states[torch.arange(3), lengths - 1].unsqueeze(1)
    past = torch.arange(7) >= lengths.unsqueeze(1)
    context, weights = theirs(
        model.from_query(last), states, states, key_padding_mask=past, average_attn_weights=False
    )
    trace = model.trace(inputs, lengths, query)
    assert_close(trace.heads[:, :, :1], weights, atol=1e-10, rtol=0)
    assert_close(trace.attention, trace.heads.mean(dim=1))
    expected = torch.tanh(model.combine(torch.cat([model.join(context), last], dim=-1)))
    assert_close(trace.features[:, :1], expected, atol=1e-10, rtol=0)


def test_one_head_and_scaled_dot_look_alike():
    """The scores are the same; only several heads also map what they have found."""
    one = with_heads(1)
    plain = make_layer(AttentionModel, FEATURES, HIDDEN, MIN_LSTM, attention="scaled_dot").double()
    plain.load_state_dict(one.state_dict(), strict=False)
    asked = questions(dtype=torch.float64)
    assert_close(one.trace(*asked).attention, plain.trace(*asked).attention)
    assert plain.trace(*asked).heads is None


def test_heads_that_do_not_divide_the_width_are_a_mistake_in_multi_head_alone():
    with pytest.raises(UserError, match="`hidden_size` 6 is not a multiple of its 4 heads"):
        make_layer(AttentionModel, FEATURES, 6, MIN_LSTM, attention="multi_head", heads=4)
    assert (
        make_layer(AttentionModel, FEATURES, 6, MIN_LSTM, attention="additive", heads=4).output_size
        == 6
    )
