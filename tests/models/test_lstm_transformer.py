"""The fusion against torch's own LSTM and its own encoder layers, one after the other."""

import torch
from torch import nn
from torch.testing import assert_close

from .cases import FEATURES, HIDDEN, build, over, questions
from .test_transformer import torchs_own


def test_it_is_torchs_encoder_over_the_states_of_torchs_lstm():
    model = build("lstm_transformer").double()
    inputs, lengths, query = questions(dtype=torch.float64)
    lstm = nn.LSTM(FEATURES, HIDDEN, 2, batch_first=True).double()
    lstm.load_state_dict(model.encoder.kernel.state_dict())
    entered = model.enter(lstm(inputs)[0])
    padding = torch.arange(7) >= lengths.unsqueeze(1)
    theirs = torchs_own(model, 5)(entered, src_key_padding_mask=padding)
    ours = model(inputs, lengths, query)
    for row, column in (query >= 0).nonzero().tolist():
        assert_close(ours[row, column], theirs[row, query[row, column]], atol=1e-10, rtol=0)


def test_order_comes_from_the_recurrence_alone():
    """With an encoder that forgets at once, two earlier steps change places unnoticed."""
    model = build("lstm_transformer", encoder=over_mingru())
    with torch.no_grad():
        for linear in model.encoder.from_input:
            linear.weight[:HIDDEN] = 0.0
            linear.bias[:HIDDEN] = 100.0  # z = 1: a state is its own step's candidate
    inputs, _, _ = questions(1, 7)
    asked = torch.tensor([7]), torch.tensor([[6]])
    swapped = inputs[:, [3, 1, 2, 0, 4, 5, 6]]
    assert_close(model(inputs, *asked), model(swapped, *asked))
    with torch.no_grad():
        for linear in model.encoder.from_input:
            linear.bias[:HIDDEN] = 0.0
    assert not torch.allclose(model(inputs, *asked), model(swapped, *asked))


def over_mingru():
    return {**over("mingru.MinGRU"), "_partial_": True, "layers": 2, "dropout": 0.0}
