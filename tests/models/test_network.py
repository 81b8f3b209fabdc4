"""Building a network: what it leaves alone, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from lookback.data.batch import SequenceDataset
from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.network import build_network
from tests.shipped import make_layer

from .cases import CASES, facts, shipped
from .test_all_models import RECIPE


@pytest.mark.parametrize("name", CASES)
def test_building_leaves_the_global_random_state_alone(name):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build_network(CASES[name][0], RECIPE, facts(), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_weights_are_those_of_a_generator_seeded_in_the_open():
    """So a seed means the same network as it did when the global state was seeded."""
    network = build_network(shipped("rnn"), RECIPE, facts(), seed=5)
    torch.manual_seed(5)
    encoder = make_layer(type(network.encoder), 3, 6, layers=2)
    head = torch.nn.Linear(6, 4)
    encoder.initialise(Initialisation(**RECIPE))
    torch.nn.init.xavier_uniform_(head.weight)
    assert torch.equal(network.head.weight, head.weight)
    for ours, theirs in zip(network.encoder.parameters(), encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_tokens_for_a_model_without_a_width_for_them_are_a_mistake():
    config = shipped("gru")
    del config["embedding_size"]
    with pytest.raises(UserError, match=r"tokens.*models\.gru\.GRU.*Add `embedding_size: 32`"):
        build_network(config, RECIPE, facts(tokens=True), seed=0)
    build_network(config, RECIPE, facts(), seed=0)


@pytest.mark.parametrize("name", ["features", "length", "outputs"])
@pytest.mark.parametrize("size", [0, -3])
def test_a_shape_that_is_none_is_a_mistake(name, size):
    with pytest.raises(UserError, match=f"`{name}` is {size}, but a model needs at least 1"):
        build_network(shipped("gru"), RECIPE, replace(facts(), **{name: size}), seed=0)


@pytest.mark.parametrize("length", [0, -2, 8])
def test_a_length_outside_its_sequence_is_a_mistake(length):
    lengths = torch.tensor([7, length, 1])
    with pytest.raises(UserError, match=f"Sequence 1 .*length {length}. Make each length 1 to 7"):
        SequenceDataset(
            torch.zeros(3, 7, 2), lengths, lengths.unsqueeze(1) - 1, torch.zeros(3, 1, 1)
        )
