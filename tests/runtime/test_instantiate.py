"""What is said of a class that refuses its settings, and what keeps its traceback."""

import pytest
import torch

from lookback.errors import UserError
from lookback.runtime.instantiate import instantiate

PARAMS = [torch.zeros(1, requires_grad=True)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"lr": "fast"}, "'<=' not supported between instances of 'float' and 'str'"),
        ({"lrr": 0.1}, "unexpected keyword argument 'lrr'"),
    ],
)
def test_another_library_s_refusal_names_its_class_and_its_settings(settings, said):
    with pytest.raises(UserError) as caught:
        instantiate({"_target_": "torch.optim.AdamW", **settings}, params=PARAMS)
    assert said in str(caught.value)
    assert "torch.optim.adamw.AdamW" in str(caught.value)


def test_a_class_inside_another_is_named_with_its_key():
    dropout = {"_target_": "torch.nn.Dropout", "p": 7}
    with pytest.raises(UserError, match=r"Dropout \(at 'encoder'\).* but got 7"):
        instantiate({"_target_": "torch.nn.Sequential", "encoder": dropout})


def test_a_value_that_a_class_of_ours_refuses_is_a_mistake_too():
    """A model that was added and raises what Python raises."""
    with pytest.raises(
        UserError, match=r"tests\.runtime\.test_instantiate\.Even.*hidden_size 3 is odd"
    ):
        instantiate({"_target_": "tests.runtime.test_instantiate.Even", "hidden_size": 3})


class Even:
    def __init__(self, hidden_size: int):
        if hidden_size % 2:
            raise ValueError(f"hidden_size {hidden_size} is odd")


def test_a_wrong_call_in_our_own_code_keeps_its_traceback():
    with pytest.raises(Exception, match="unexpected keyword") as caught:
        instantiate(
            {
                "_target_": "lookback.models.rnn.RNN",
                "hidden_size": 3,
                "layers": 1,
                "dropout": 0.0,
                "nonlinearity": "tanh",
                "bias": "double",
                "bidirectional": False,
                "layer_norm": False,
                "recurrent_dropout": 0.0,
                "layer": 2,
            },
            features=2,
        )
    assert not isinstance(caught.value, UserError)


def test_a_target_that_is_not_there_is_a_mistake():
    with pytest.raises(UserError, match=r"torch\.optim\.AdamX"):
        instantiate({"_target_": "torch.optim.AdamX"})
