"""The attention model's own part, in cases whose answer is known."""

import torch
from torch.testing import assert_close

from lookback.models.base import Initialisation

from .cases import HIDDEN, build, questions


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
