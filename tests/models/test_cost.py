"""Operations counted against a count by hand: 2 a multiplication with its addition."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lookback.models.base import RecurrentEncoder
from lookback.models.cost import forward_flops, training_flops
from lookback.models.network import build_network
from lookback.training.loss import answer_loss

from .cases import CASES, FEATURES, HIDDEN, LAYERS, MODES, facts, over, shipped
from .test_all_models import RECIPE

T, F, H, N = 7, FEATURES, HIDDEN, MODES
HEAD = 2 * H * 4


def counted(name, *, tokens=False, length=T, **changes):
    config = shipped(name, **changes)
    task = replace(facts(tokens=tokens), length=length)
    return forward_flops(build_network(config, RECIPE, task, seed=0), task)


def recurrent(gates, time=T, features=F):
    return 2 * time * gates * H * (features + H + (LAYERS - 1) * 2 * H) + HEAD


BY_HAND = {
    "rnn": recurrent(1),
    "lstm": recurrent(4),
    "gru": recurrent(3),
    "mingru": 2 * T * 2 * H * (F + H) + HEAD,
    "minlstm": 2 * T * 3 * H * (F + H) + HEAD,
    # In, and a block's B (2 N real rows), C (2 N real columns) and GLU.
    "lru": 2 * T * (F * H + LAYERS * (2 * N * H + 2 * N * H + 2 * H * H)) + HEAD,
    # Two convolutions of 3 taps a block, and the first block's 1 × 1.
    "tcn": 2 * T * (3 * F * H + 3 * H * H + F * H + 2 * 3 * H * H) + HEAD,
    # W_q of one query, W_k, v and the weighted sum over T, W_c.
    "attention": recurrent(4) + 2 * (H * H + T * H * H + T * H + T * H + 2 * H * H),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_count_is_the_count_by_hand(name):
    assert counted(name) == BY_HAND[name]


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_the_last_layer_of_a_transformer_is_counted_at_the_query_alone(positions):
    """As `forward` does it; 5 wide in the feed-forward net."""

    def layer(rows):
        attention = 2 * rows * H * H + 2 * T * H * H + 2 * rows * T * H
        return 2 * (attention + 2 * rows * H * 5)

    heads = 3 if positions == "rotary" else 2
    found = counted("transformer", positions=positions, heads=heads)
    assert found == 2 * T * F * H + layer(T) + layer(1) + HEAD


def test_an_encoder_of_another_kind_is_counted_inside_another_model():
    lru = over("lru.LRU", modes=N, r_min=0.0, r_max=1.0)
    own = BY_HAND["attention"] - BY_HAND["lstm"]
    assert counted("attention", encoder=lru) == BY_HAND["lru"] + own


def test_two_directions_cost_twice_and_read_twice_as_wide():
    found = counted("mingru", bidirectional=True)
    assert found == 2 * (2 * T * 2 * H * (F + 2 * H)) + 2 * HEAD


def test_tokens_cost_what_their_embeddings_do():
    assert counted("lstm", tokens=True) == recurrent(4, features=32)


def test_length_is_the_tasks():
    assert counted("gru", length=50) == recurrent(3, time=50)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_training_counts_what_one_real_batch_computes(name, tokens):
    """Three sequences of nine steps with five queries, one of them padding, in 32 bits.

    Fused kernels are invisible to the counter, so a recurrent encoder goes by its differentiable
    trace, and attention by plain products.
    """
    task = replace(facts(tokens=tokens), padded_length=9, queries=5)
    network = build_network(CASES[name][0], RECIPE, task, seed=0)
    inputs = torch.randint(11, (3, 9)) if tokens else torch.randn(3, 9, FEATURES)
    query = torch.tensor([0, 3, 5, 6, -1]).repeat(3, 1)
    for module in network.modules():
        if isinstance(module, RecurrentEncoder):
            module.outputs = lambda inputs, lengths, module=module: (
                module.trace_outputs(inputs, lengths, differentiable=True).features
            )
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        answers = network(inputs, torch.tensor([9, 8, 7]), query)
        answer_loss(answers, query, torch.ones_like(query), "class").backward()
    assert training_flops(network, task) == pytest.approx(counter.get_total_flops() / 3, rel=0.02)


def test_training_counts_by_hand():
    """The backward pass of an LSTM layer: W_x and W_h, and h of every step but the first."""
    task = replace(facts(), padded_length=20, queries=6)
    network = build_network(shipped("lstm", layers=1), RECIPE, task, seed=0)
    forward = 2 * 20 * 4 * H * (F + H) + 6 * HEAD
    backward = forward + 2 * 19 * 4 * H * H + 6 * HEAD
    assert training_flops(network, task) == pytest.approx(forward + backward, rel=0.02)


@pytest.mark.parametrize("name", CASES)
def test_counting_leaves_network_and_random_state_as_they_were(name):
    network = build_network(CASES[name][0], RECIPE, facts(), seed=0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    assert forward_flops(network, facts()) > 0
    assert training_flops(network, facts()) > 0
    assert all(weight.grad is None for weight in network.parameters())
    assert network.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert "outputs" not in vars(network.encoder)
