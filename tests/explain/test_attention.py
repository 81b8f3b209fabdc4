from functools import partial

import pytest
import torch
from torch.testing import assert_close

from lookback.errors import NotApplicable
from lookback.explain.attention import Attention
from lookback.models.attention import AttentionModel
from lookback.models.gru import GRU
from lookback.models.lstm_transformer import LSTMTransformer
from lookback.models.mingru import MinGRU
from lookback.models.network import Network
from lookback.models.transformer import Transformer
from tests.cells import padded
from tests.shipped import make_layer

from .known import asked, gated, state_of

LENGTHS = torch.tensor([7, 4, 1])


def attribute(network):
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS)
    output = torch.zeros(3, dtype=torch.int64)
    attribution = Attention(sequences=3).attribute(
        network, batch, output, background=batch.inputs, generator=torch.Generator()
    )
    return attribution.values, batch


GRU_LAYER, MIN_GRU_LAYER = partial(make_layer, GRU), partial(make_layer, MinGRU)
SIZES = {"layers": 2, "heads": 2, "feedforward": 8}


@pytest.mark.parametrize(
    "encoder",
    [
        partial(make_layer, AttentionModel, 3, 5, encoder=GRU_LAYER),
        partial(make_layer, AttentionModel, 3, 6, MIN_GRU_LAYER, attention="multi_head", heads=2),
        partial(make_layer, Transformer, 3, 8, **SIZES),
        partial(make_layer, Transformer, 3, 8, **SIZES, positions="rotary"),
        partial(make_layer, LSTMTransformer, 3, 8, encoder=GRU_LAYER, **SIZES),
    ],
)
def test_weights_sum_to_one_over_steps_and_features_and_are_zero_past_the_length(encoder):
    torch.manual_seed(0)
    network = Network(encoder(), 2).double().eval()
    values, _ = attribute(network)
    assert_close(values.sum((1, 2)), torch.ones(3, dtype=torch.float64))
    assert (values[torch.arange(7) >= LENGTHS[:, None]] == 0).all()


def test_a_steps_value_is_its_weight_by_bahdanaus_equations():
    torch.manual_seed(0)
    network = Network(make_layer(AttentionModel, 3, 5, encoder=GRU_LAYER), 2).double().eval()
    values, batch = attribute(network)
    model, before = network.encoder, state_of(network)
    for row, length in enumerate(LENGTHS.tolist()):
        state, states = model.encoder.initial_state(1), []
        for step in batch.inputs[row, :length]:
            output, state = model.encoder.step(step.unsqueeze(0), state)
            states.append(output[0])
        scores = [
            model.score(torch.tanh(model.from_query(states[-1]) + model.from_key(state)))
            for state in states
        ]
        weights = torch.cat(scores).softmax(0)
        assert_close(values[row, :length].sum(1), weights)
    assert state_of(network) == before


def test_a_gru_has_no_attention_and_the_reason_says_so():
    with pytest.raises(NotApplicable, match="GRU has no attention weights"):
        attribute(gated("gru"))
