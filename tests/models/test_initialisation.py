"""What each way to start promises: against the papers' formulas, and a test of distributions."""

from pathlib import Path

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.network import build_network
from lookback.models.rnn import RNN
from lookback.planning.study import compose_by_hand
from lookback.planning.validate_settings import check_settings
from tests.shipped import make_layer

from .cases import shipped

ROOT = Path(__file__).parents[2]
RECIPES = [path.stem for path in sorted((ROOT / "conf/recipe").glob("*.yaml"))]
HIDDEN, LENGTH = 256, 784


def start(model, seed: int = 0, **changes) -> None:
    settings = {"recurrent": "orthogonal", "input": "xavier_uniform", "forget_bias": 0.0, **changes}
    torch.manual_seed(seed)
    model.initialise(Initialisation.of(settings, length=LENGTH))


def gates_at_rest(model) -> dict[str, torch.Tensor]:
    """The gates (H,) of a blank input and a blank state: what the biases alone say."""
    blank = torch.zeros(1, 1, 3)
    gates = model.trace(blank, torch.tensor([1]), torch.tensor([[0]])).gates
    return {name.partition("/")[0]: gate.squeeze() for name, gate in gates.items()}


@pytest.mark.parametrize(("kind", "keeps"), [(LSTM, "forget"), (GRU, "update")])
def test_chrono_spreads_time_constants_evenly_from_two_steps_to_the_tasks_length(kind, keeps):
    """1 / (1 - f) = 1 + u with u ~ U(1, T - 1): told from its logarithm by Kolmogorov-Smirnov."""
    model = make_layer(kind, 3, HIDDEN)
    start(model, forget_bias="chrono")
    gates = gates_at_rest(model)
    constants = 1 / (1 - gates[keeps].double().numpy())
    even = stats.uniform(2, LENGTH - 2)
    assert stats.kstest(constants, even.cdf).pvalue > 0.05
    assert stats.kstest(constants, stats.loguniform(2, LENGTH).cdf).pvalue < 1e-6
    if kind is LSTM:  # b_i = -b_f: the input gate opens as far as the forget gate closes
        assert_close(gates["input"], 1 - gates["forget"])
        assert_close(gates["output"], torch.full((HIDDEN,), 0.5))
    else:
        assert_close(gates["reset"], torch.full((HIDDEN,), 0.5))


def test_an_lstm_of_two_directions_has_the_forget_bias_in_both():
    model = make_layer(LSTM, 3, 5, bidirectional=True)
    start(model, forget_bias=1.0)
    for _, _, b_x, _ in model.kernel.all_weights:
        assert b_x.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10


def test_chrono_knows_the_length_of_the_task():
    facts = Facts("class", False, 3, 50, 2, "accuracy", 0.5, "a coin", {})
    recipe = {"recurrent": "orthogonal", "input": "uniform", "forget_bias": "chrono"}
    network = build_network(shipped("lstm", hidden_size=HIDDEN), recipe, facts, seed=0)
    constants = 1 / (1 - gates_at_rest(network.encoder)["forget"])
    assert 2 <= constants.min() < 4
    assert 48 < constants.max() <= 50 + 1e-3


@pytest.mark.parametrize("length", [2, 3])
def test_chrono_is_finite_for_the_shortest_tasks(length):
    start = Initialisation("orthogonal", "uniform", "chrono", length=length)
    assert torch.isfinite(start.forget_biases(9)).all()


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_drawn_as_one_a_layers_matrices_are_those_of_keras(kind):
    """GlorotUniform and Orthogonal of Keras 3 on kernels of F × gates·H and H × gates·H."""
    model = make_layer(kind, 3, HIDDEN)
    start(model, unit="layer")
    w_x, w_h, *_ = model.kernel.all_weights[0]
    bound = (6 / sum(w_x.shape)) ** 0.5
    assert 0.98 * bound < w_x.abs().max() <= bound
    assert_close(w_h.T @ w_h, torch.eye(HIDDEN), atol=1e-5, rtol=0)


def test_normal_is_that_of_the_irnn():
    model = make_layer(RNN, 3, HIDDEN, nonlinearity="relu")
    start(model, recurrent="identity", input="normal")
    w_x, w_h, *biases = model.kernel.all_weights[0]
    assert stats.kstest(w_x.detach().flatten().numpy(), stats.norm(0, 0.001).cdf).pvalue > 0.05
    assert torch.equal(w_h, torch.eye(HIDDEN))
    assert not any(bias.any() for bias in biases)


def test_an_identity_of_several_gates_is_a_mistake():
    with pytest.raises(UserError, match="needs a square matrix per gate"):
        start(make_layer(GRU, 3, 4), recurrent="identity", unit="layer")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_shipped_recipe_starts_every_recurrent_model(recipe):
    for model in ("rnn", "lstm", "gru", "attention", "transformer"):
        composed = compose_by_hand(ROOT / "conf", "digits_rows", model, 0, [f"recipe={recipe}"])
        config = composed.cells["digits_rows", model]
        facts = Facts("class", False, 8, 8, 10, "accuracy", 0.1, "a class", {})
        network = build_network(config.model, config.recipe["initialisation"], facts, seed=0)
        assert all(torch.isfinite(weight).all() for weight in network.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label_smoothing": 1.0}, "'label_smoothing' cannot be 1.0; it should be below 1"),
        ({"early_stopping": {"patience": 0}}, "'early_stopping.patience' cannot be 0"),
        ({"early_stopping": {"patient": 3}}, "Did you mean 'patience'"),
        ({"schedule": {"shape": "drip", "warmup": 0}}, "Did you mean 'drop'"),
        ({"schedule": {"shape": "cosine", "warmup": 1.5}}, "'schedule.warmup' cannot be 1.5"),
    ],
)
def test_a_recipe_that_says_nonsense_is_a_mistake(change, said):
    composed = compose_by_hand(ROOT / "conf", "adding", "gru", 0, [])
    recipe = {**composed.cells["adding", "gru"].recipe, **change}
    with pytest.raises(UserError) as error:
        check_settings(recipe, "recipe", "conf/recipe/mine.yaml")
    assert said in str(error.value)


def test_a_misspelt_chrono_is_a_mistake():
    overrides = ["recipe.initialisation.forget_bias=chron"]
    with pytest.raises(UserError, match="Did you mean 'chrono'"):
        compose_by_hand(ROOT / "conf", "adding", "gru", 0, overrides)
