"""Layer norm and recurrent dropout: masks by hand, both directions, gradients and truncation."""

import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.models.gru import GRU
from lookback.models.network import Network
from lookback.training.modes import set_modes
from tests.shipped import make_layer

from .cases import CASES, FEATURES, HIDDEN, LAYERS, build, questions

KEPT = 0.6  # of a state, under recurrent dropout
PLAIN = ("rnn", "rnn_relu", "lstm", "gru", "gru_before")
NORMED = ("rnn_normed", "lstm_normed", "gru_normed", "gru_before_normed")
plain_models = pytest.mark.parametrize("name", PLAIN)
normed_models = pytest.mark.parametrize("name", NORMED)


def dropping(name, **changes):
    """The model in training mode, with recurrent dropout and the weights of `build`."""
    return build(name, recurrent_dropout=1 - KEPT, **changes).double().train()


def masks(seed, batch, count):
    """The masks that a forward pass draws after `manual_seed(seed)`, one per layer."""
    torch.manual_seed(seed)
    ones = torch.ones(batch, HIDDEN, dtype=torch.float64)
    return [functional.dropout(ones, 1 - KEPT) for _ in range(count)]


@plain_models
def test_recurrent_dropout_scales_the_columns_of_the_recurrent_weights_of_a_sequence(name):
    """W_h (d ⊙ h) = (W_h diag(d)) h: the slow twin with other weights for each sequence."""
    model = dropping(name)
    inputs, lengths, query = questions(dtype=torch.float64)
    drawn = masks(5, 3, LAYERS)
    torch.manual_seed(5)
    features = model(inputs, lengths, query).detach()
    for row, length in enumerate(lengths.tolist()):
        weights = {key: value.double().numpy() for key, value in model.state_dict().items()}
        for layer, mask in enumerate(drawn):
            key = f"kernel.weight_hh_l{layer}"
            weights[key] = weights[key] * mask[row].numpy()
        asked = [step for step in query[row].tolist() if step >= 0]
        twin = CASES[name][1](weights, LAYERS, inputs[row, :length].numpy(), asked)
        assert_allclose(features[row][query[row] >= 0].numpy(), twin.features, atol=1e-12)


@plain_models
def test_outside_training_recurrent_dropout_changes_nothing(name):
    asked = questions()
    without, model = build(name), build(name, recurrent_dropout=0.9)
    assert_close(model(*asked), without(*asked), atol=1e-5, rtol=0)
    with torch.no_grad():
        assert_close(model(*asked), without(*asked), atol=1e-5, rtol=0)
    state = model.initial_state(3)
    step = asked[0][:, 0]
    assert_close(model.step(step, state), without.step(step, state))


def test_a_mask_differs_between_sequences_layers_and_batches_and_has_the_mean_one():
    first, second = masks(0, 4000, 2)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert first.mean().item() == pytest.approx(1, abs=0.02)
    assert first.unique().tolist() == pytest.approx([0.0, 1 / KEPT])
    model, (inputs, lengths, query) = dropping("gru"), questions(dtype=torch.float64)
    assert not torch.equal(model(inputs, lengths, query), model(inputs, lengths, query))


@pytest.mark.parametrize("name", [*PLAIN, *NORMED])
def test_the_gradients_are_those_of_differences(name):
    """In training mode: the same seed gives the same masks to each evaluation."""
    model = dropping(name, layers=1)
    inputs, lengths, query = questions(2, 4, dtype=torch.float64)

    def answers(inputs, *parameters):
        torch.manual_seed(3)
        named = dict(zip(dict(model.named_parameters()), parameters, strict=True))
        features = torch.func.functional_call(model, named, (inputs, lengths, query))
        return features.masked_fill((query < 0).unsqueeze(-1), 0.0)

    parameters = [parameter.detach().requires_grad_() for parameter in model.parameters()]
    assert torch.autograd.gradcheck(answers, (inputs.requires_grad_(), *parameters))


@normed_models
def test_layer_norm_of_two_directions_is_that_of_one_direction_read_both_ways(name):
    both = build(name, bidirectional=True, layers=1).double()
    one = build(name, layers=1).double()
    inputs, lengths, _ = questions(3, 7, dtype=torch.float64)
    outputs = both.outputs(inputs, lengths)
    weights = both.state_dict()
    for direction, suffix in enumerate(("", "_reverse")):
        mine = {
            key: weights[
                key.replace("norms.0", f"norms.{direction}") if "norms" in key else f"{key}{suffix}"
            ]
            for key in one.state_dict()
        }
        one.load_state_dict(mine)
        part = slice(direction * HIDDEN, (direction + 1) * HIDDEN)
        for row, length in enumerate(lengths.tolist()):
            sequence = inputs[row : row + 1, :length]
            alone = one.outputs(sequence.flip(1) if direction else sequence, torch.tensor([length]))
            wanted = alone.flip(1) if direction else alone
            assert_close(outputs[row, :length, part], wanted[0], atol=1e-12, rtol=0)


def test_layer_norm_does_not_see_the_scale_of_the_weights():
    """What layer norm is for: W and 100 W give the same outputs, up to the ε of the variance."""
    model = build("gru_normed")
    asked = questions()
    before = model(*asked)
    with torch.no_grad():
        for w_x, w_h, *_ in model.kernel.all_weights:
            w_x *= 100
            w_h *= 100
    assert_close(model(*asked), before, atol=2e-3, rtol=0)


@pytest.mark.parametrize("changes", [{"layer_norm": True}, {"recurrent_dropout": 0.1}])
def test_a_model_without_a_kernel_refuses_truncation(changes):
    network = Network(make_layer(GRU, FEATURES, HIDDEN, **changes), 2)
    assert network.encoder.fused is None
    with pytest.raises(UserError, match="tbptt"):
        set_modes(network, {"tbptt": 5, "compile": False}, "cpu")


def test_a_recurrent_dropout_of_one_is_a_mistake():
    with pytest.raises(UserError, match=r"The model's `recurrent_dropout` is 1\.0"):
        make_layer(GRU, FEATURES, HIDDEN, recurrent_dropout=1.0)
