"""Notices about recipe settings, against the initial weights that the settings give."""

from pathlib import Path

import pytest
import torch

from lookback.data.task import Facts
from lookback.models.network import build_network
from lookback.planning.study import compose_by_hand
from tests.conftest import ROOT

CONF = ROOT / "conf"
MODELS = sorted(path.stem for path in Path(CONF / "model").glob("*.yaml"))
FACTS = Facts("value", False, 2, 12, 1, "mse", 1.0, "mean", {"train": 1})
CHANGES = [
    ("recurrent", "uniform"),
    ("recurrent", "identity"),
    ("input", "normal"),
    ("forget_bias", "chrono"),
    ("forget_bias", 0.5),
    ("unit", "layer"),
]


def notices(model: str, *overrides: str) -> tuple[str, ...]:
    return compose_by_hand(CONF, "adding", model, 0, list(overrides)).notices


def weights(model: str, *overrides: str) -> torch.Tensor:
    cell = compose_by_hand(CONF, "adding", model, 0, list(overrides)).cells["adding", model]
    network = build_network(cell.model, cell.recipe["initialisation"], FACTS, seed=0)
    return torch.cat([weight.flatten() for weight in network.parameters()])


@pytest.mark.parametrize("model", MODELS)
def test_the_default_recipe_gives_no_notice(model):
    assert notices(model) == ()


@pytest.mark.parametrize(("key", "value"), CHANGES)
@pytest.mark.parametrize("model", MODELS)
def test_a_setting_that_leaves_the_weights_bit_equal_is_named(model, key, value):
    change = f"recipe.initialisation.{key}={value}"
    has_effect = not torch.equal(weights(model), weights(model, change))
    named = [notice for notice in notices(model, change) if "has no effect" in notice]
    assert named == ([] if has_effect else [f"{change} has no effect on {model}."])


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("rnn", "layer_norm=True"),
        ("lstm", "recurrent_dropout=0.2"),
        ("gru", "reset=before"),
        ("attention", "encoder.layer_norm=True"),
    ],
)
def test_a_setting_that_costs_a_model_its_fast_kernel_is_named(model, setting):
    """The model itself knows: it has no kernel."""
    change = f"model.{setting}"
    (notice,) = notices(model, change)
    named = setting.removeprefix("encoder.")
    assert notice.startswith(f"There is no fast kernel for {named}. For {model}, torch computes")
    for overrides, has_kernel in (((), True), ((change,), False)):
        cell = compose_by_hand(CONF, "adding", model, 0, list(overrides)).cells["adding", model]
        network = build_network(cell.model, cell.recipe["initialisation"], FACTS, seed=0)
        encoder = getattr(network.encoder, "encoder", network.encoder)
        assert (encoder.fused is not None) == has_kernel


def test_the_identity_is_for_rectified_units():
    (notice,) = notices("rnn", "recipe=irnn")
    assert notice.endswith("An IRNN needs model.nonlinearity=relu.")
    assert notices("rnn", "recipe=irnn", "model.nonlinearity=relu") == ()
