"""The hidden size that gives a network as many parameters as a study asks for."""

import pytest
import torch

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.network import build_network
from lookback.training.match import match_hidden_size, neighbouring_sizes, parameters_of
from tests.training.small import shipped

FEATURES, OUTPUTS = 2, 3
FACTS = Facts("class", False, FEATURES, 9, OUTPUTS, "accuracy", 0.3, "none", {})
TOKENS = Facts("class", True, 7, 9, OUTPUTS, "accuracy", 0.3, "none", {})
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def model_of(name: str, **changes: object) -> dict:
    return {**shipped(name).model, **changes}


def recurrent(name: str, hidden: int, features: int = FEATURES) -> int:
    """Each gate has H × F, H × H and two biases; the head H × O and one."""
    return (
        GATES[name] * (hidden * features + hidden * hidden + 2 * hidden)
        + hidden * OUTPUTS
        + OUTPUTS
    )


@pytest.mark.parametrize("name", GATES)
def test_parameters_are_counted_as_by_hand(name):
    assert parameters_of(model_of(name, hidden_size=11), FACTS) == recurrent(name, 11)


def test_the_embedding_of_tokens_counts_too():
    model = model_of("gru", hidden_size=11, embedding_size=5)
    assert parameters_of(model, TOKENS) == recurrent("gru", 11, features=5) + 7 * 5


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "attention", "transformer"])
def test_what_is_counted_is_what_is_built(name):
    model, recipe = model_of(name), shipped(name).recipe
    network = build_network(model, recipe["initialisation"], FACTS, seed=0)
    assert parameters_of(model, FACTS) == sum(it.numel() for it in network.parameters())


def test_counting_allocates_nothing_and_draws_nothing():
    state = torch.get_rng_state()
    assert parameters_of(model_of("rnn", hidden_size=1_000_000), FACTS) > 1e12  # 4 TB
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("wanted", [300, 4_321, 70_000])
@pytest.mark.parametrize("name", GATES)
def test_the_size_found_is_the_nearest_of_all(name, wanted):
    found = match_hidden_size(model_of(name), {"params": wanted, "tolerance": 0.5}, FACTS)
    nearest = min(range(1, 400), key=lambda hidden: abs(recurrent(name, hidden) - wanted))
    assert found["hidden_size"] == nearest
    assert found == model_of(name, hidden_size=nearest)


def test_a_size_that_the_constructor_refuses_is_passed_over():
    model = model_of("transformer", heads=5)
    found = match_hidden_size(model, {"params": 20_000, "tolerance": 0.2}, FACTS)["hidden_size"]
    assert found % 5 == 0
    off = {
        size: abs(parameters_of({**model, "hidden_size": size}, FACTS) - 20_000)
        for size in range(5, 200, 5)
    }
    assert found == min(off, key=lambda size: off[size])


def test_a_count_that_no_size_reaches_is_answered_with_the_nearest_ones():
    wanted, low, high = 3_800, recurrent("lstm", 28), recurrent("lstm", 29)
    assert low < wanted < high
    with pytest.raises(UserError) as caught:
        match_hidden_size(model_of("lstm"), {"params": wanted, "tolerance": 0.001}, FACTS)
    said = str(caught.value)
    assert all(f"{count:,}" in said for count in (low, high))
    nearest = min(low, high, key=lambda count: abs(count - wanted))
    assert f"match.params: {nearest}" in said
    assert len(said.splitlines()) <= 5


def test_fewer_parameters_than_the_smallest_network_has_are_out_of_reach():
    with pytest.raises(UserError, match=f"1 has {recurrent('gru', 1)}"):
        match_hidden_size(model_of("gru"), {"params": 3, "tolerance": 0.05}, FACTS)


def test_a_mistake_that_no_size_mends_is_the_constructor_s_own():
    with pytest.raises(UserError, match=r"dropout of 0\.5"):
        match_hidden_size(model_of("gru", dropout=0.5), {"params": 500, "tolerance": 0.05}, FACTS)


def test_the_two_neighbours_are_found_for_every_count():
    def count(size: int) -> int:
        if size % 3:
            raise UserError("a multiple of three")
        return size * size

    for wanted in range(10, 3000, 7):
        low, high = neighbouring_sizes(wanted, count)
        assert low.parameters < wanted <= high.parameters
        assert high.hidden_size - low.hidden_size == 3
