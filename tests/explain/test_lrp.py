import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.errors import NotApplicable
from lookback.explain.lrp import LRP
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.minlstm import MinLSTM
from lookback.models.network import Network
from lookback.models.rnn import RNN
from tests.cells import padded
from tests.shipped import make_layer

from .known import asked, state_of
from .lrp_twin import Steps, lrp_linear

KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
EPSILON = 0.001
LENGTHS = torch.tensor([7, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])
INPUTS = padded(LENGTHS, 7, 3)


def network_of(kind: type, **settings) -> Network:
    torch.manual_seed(0)
    network = Network(make_layer(kind, 3, 5, **settings), 4).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.9, 0.9)
    return network.eval()


def attribute(network, inputs=INPUTS, query=None):
    batch = asked(inputs, LENGTHS)
    if query is not None:
        batch = batch.__class__(inputs, LENGTHS, query, torch.zeros_like(query))
    attribution = LRP(sequences=3, epsilon=EPSILON).attribute(
        network, batch, OUTPUT, background=inputs, generator=torch.Generator()
    )
    with torch.no_grad():
        answers = network(inputs, LENGTHS, batch.query)[:, 0].gather(1, OUTPUT[:, None])[:, 0]
    return attribution, answers


def twin(kind: str, network: Network, row: int, *, drop_start: bool = True):
    """The relevance of the inputs (T, F) of a sequence, and of the states before the first step."""
    encoder, length = network.encoder, int(LENGTHS[row])
    below, stacks, starts = INPUTS[row, :length].numpy(), [], []
    all_weights = [[w.detach().numpy() for w in ws] for ws in encoder.kernel.all_weights]
    for layer in range(encoder.layers):
        directions = []
        for direction in range(encoder.directions):
            order = slice(None, None, -1 if direction else 1)
            weights = all_weights[layer * encoder.directions + direction]
            directions.append((order, Steps(kind, weights, below[order].copy(), EPSILON)))
        stacks.append(directions)
        below = np.concatenate([np.stack(s.h[1:])[order] for order, s in directions], axis=1)
    w, b = (t.detach().numpy()[OUTPUT[row]][None] for t in (network.head.weight, network.head.bias))
    logit = w @ below[-1] + b
    relevance = np.zeros_like(below)
    relevance[-1] = lrp_linear(below[-1], w.T, b, logit, logit, below.shape[1], EPSILON)
    for directions in reversed(stacks):
        total = 0
        for part, (order, steps) in zip(
            np.split(relevance, len(directions), axis=1), directions, strict=True
        ):
            found, start = steps.relevance(part[order], drop_start=drop_start)
            total, starts = total + found[order], [*starts, start]
        relevance = total
    return relevance, starts


CASES = [
    (kind, settings)
    for kind in KINDS
    for settings in ({}, {"layers": 2}, {"layers": 2, "bidirectional": True})
]


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_it_equals_the_rules_of_the_papers_neuron_by_neuron_and_sums_to_the_answer(kind, settings):
    network = network_of(KINDS[kind], **settings)
    attribution, answers = attribute(network)
    for row, length in enumerate(LENGTHS.tolist()):
        expected, _ = twin(kind, network, row)
        assert_close(attribution.values[row, :length].numpy(), expected, atol=1e-9, rtol=1e-7)
        assert (attribution.values[row, length:] == 0).all()
    assert_close(attribution.values.sum((1, 2)), answers, atol=1e-9, rtol=0)
    assert attribution.error.max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_first_step_differs_from_the_papers_by_what_they_leave_in_the_state_before_it(
    kind,
):
    network = network_of(KINDS[kind])
    values = attribute(network)[0].values[0].numpy()
    expected, (start,) = twin(kind, network, 0, drop_start=False)
    assert_close(values[1:], expected[1:], atol=1e-9, rtol=1e-7)
    assert abs(start.sum()) > 1e-4
    assert values[0].sum() == pytest.approx(expected[0].sum() + start.sum())


def test_a_gru_that_resets_the_state_before_the_product_keeps_the_sum_too():
    network = network_of(GRU, layers=2, reset="before")
    attribution, answers = attribute(network)
    assert_close(attribution.values.sum((1, 2)), answers, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_after_the_query_get_nothing_and_the_answer_at_the_query_is_explained(kind):
    network = network_of(KINDS[kind])
    query = torch.tensor([[2], [1], [0]])
    attribution, answers = attribute(network, query=query)
    assert (attribution.values[torch.arange(7) > query] == 0).all()
    assert_close(attribution.values.sum((1, 2)), answers, atol=1e-9, rtol=0)


def test_of_a_linear_answer_without_biases_each_input_gets_weight_times_input():
    """A network with ReLU whose weights and inputs are positive is linear."""
    network = network_of(RNN, nonlinearity="relu")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.zeros_like(parameter) if "bias" in name else parameter.abs())
    inputs = INPUTS.abs()
    explainer = LRP(3, epsilon=1e-12)
    batch, point = asked(inputs, LENGTHS), inputs.clone().requires_grad_()
    values = explainer.attribute(
        network, batch, OUTPUT, background=inputs, generator=torch.Generator()
    ).values
    answers = network(point, LENGTHS, batch.query)[:, 0].gather(1, OUTPUT[:, None])
    (slope,) = torch.autograd.grad(answers.sum(), point)
    assert_close(values, slope * inputs, atol=1e-9, rtol=1e-7)


def test_in_single_precision_by_the_kernels_the_sum_holds_to_rounding():
    network = network_of(LSTM, layers=2).float()
    attribution, answers = attribute(network, INPUTS.float())
    assert_close(attribution.values.sum((1, 2)), answers, atol=1e-4, rtol=0)


def test_the_model_stays_as_it_was_and_other_models_are_told_why():
    network = network_of(LSTM)
    before = state_of(network)
    attribute(network)
    assert state_of(network) == before
    with pytest.raises(NotApplicable, match="LRP has no rules here for MinLSTM"):
        attribute(network_of(MinLSTM))
