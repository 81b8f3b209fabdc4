"""Truncated back-propagation, compilation and bfloat16, each against the plain way."""

import pytest
import torch
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.training.modes import set_modes
from tests.training.small import adding, network_of

PLAIN = {"tbptt": None, "compile": False}


def questions(sequences: int = 5):
    data = adding().dataset("train")
    return data.batch(slice(0, sequences))


def gradients(network, answers) -> dict[str, torch.Tensor]:
    network.zero_grad()
    answers.square().sum().backward()
    return {name: it.grad.clone() for name, it in network.named_parameters()}


@pytest.mark.parametrize("steps", [1, 5, 12, 99])
@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_truncated_gradients_are_those_of_a_graph_cut_by_hand(model, steps):
    """The slow twin walks by `step`, in float64, and detaches the state `steps` before the end."""
    network = network_of(model, adding().facts(), seed=3).double()
    batch = questions()
    inputs = batch.inputs.double()
    plain = network(inputs, batch.lengths, batch.query)

    state, outputs = network.encoder.initial_state(len(inputs)), []
    for at, input in enumerate(inputs.unbind(1)):
        state = state.detach() if at == len(inputs[0]) - steps else state
        output, state = network.encoder.step(input, state)
        outputs.append(output)
    wanted = gradients(network, network.head(outputs[-1]))

    set_modes(network, {**PLAIN, "tbptt": steps}, "cpu")
    answers = network(inputs, batch.lengths, batch.query)
    assert_close(answers, plain)
    found = gradients(network, answers)
    for name, gradient in wanted.items():
        assert_close(found[name], gradient, msg=name)


def test_the_recurrent_encoder_of_an_attention_model_is_cut_as_well():
    network = network_of("attention", adding().facts(), seed=3)
    batch = questions()
    whole = gradients(network, network(batch.inputs, batch.lengths, batch.query))
    set_modes(network, {**PLAIN, "tbptt": 4}, "cpu")
    cut = gradients(network, network(batch.inputs, batch.lengths, batch.query))
    assert not torch.allclose(
        cut["encoder.encoder.kernel.weight_hh_l0"], whole["encoder.encoder.kernel.weight_hh_l0"]
    )
    network.eval()  # measurements see the whole past
    assert_close(gradients(network, network(batch.inputs, batch.lengths, batch.query)), whole)


def test_a_model_without_a_state_cannot_be_truncated():
    network = network_of("transformer", adding().facts(), seed=0)
    with pytest.raises(UserError, match=r"no state to carry.*trainer\.tbptt=null"):
        set_modes(network, {**PLAIN, "tbptt": 4}, "cpu")


def test_a_recurrent_model_is_not_compiled():
    network = network_of("attention", adding().facts(), seed=0)
    with pytest.raises(UserError, match=r"recurrent.*trainer\.compile=false"):
        set_modes(network, {**PLAIN, "compile": True}, "cpu")


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    network = network_of("transformer", adding().facts(), seed=0)
    with pytest.raises(UserError, match=r"no C\+\+ compiler"):
        set_modes(network, {**PLAIN, "compile": True}, "cpu")
