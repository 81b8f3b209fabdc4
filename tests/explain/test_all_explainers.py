"""What every explainer of conf/explainer/ promises, whichever it is."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch.testing import assert_close

from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, Explainer, answer, attribution_of
from lookback.models.attention import AttentionModel
from lookback.models.gru import GRU
from lookback.models.network import Network
from lookback.runtime.instantiate import instantiate
from tests.cells import padded
from tests.conftest import ROOT
from tests.models import cases
from tests.shipped import make_layer

from .known import asked, gated, state_of

CONFIGS = sorted((ROOT / "conf/explainer").glob("*.yaml"))
LENGTHS = torch.tensor([7, 4, 1, 6])
OUTPUT = torch.tensor([0, 3, 2, 1])
BACKGROUND = padded(torch.full((5,), 7), 7, 3, seed=1)


def attending() -> Network:
    """A GRU with attention pooling and dropout, so that every explainer applies, in float64."""
    torch.manual_seed(0)
    encoder = partial(make_layer, GRU, layers=2, dropout=0.5)
    return Network(make_layer(AttentionModel, 3, 5, encoder), 4).double().eval()


def attributed(
    explainer: Explainer, network: Network, rows: slice = slice(None), seed: int = 3
) -> Attribution:
    inputs, lengths = padded(LENGTHS, 7, 3)[rows], LENGTHS[rows]
    return attribution_of(
        explainer,
        network,
        asked(inputs, lengths),
        OUTPUT[rows],
        background=BACKGROUND,
        generator=torch.Generator().manual_seed(seed),
    )


FEW = {"points": 4, "draws": 2, "pairs": 2}  # quick estimates


def shipped(path: Path) -> Explainer:
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    return instantiate(settings | {name: few for name, few in FEW.items() if name in settings})


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def explainer(request) -> Explainer:
    return shipped(request.param)


@pytest.fixture
def network(explainer) -> Network:
    """A network to which the explainer applies: a GRU with attention, or an LSTM."""
    try:
        attributed(explainer, attending())
    except NotApplicable:
        return gated("lstm")
    return attending()


@pytest.mark.parametrize("name", cases.CASES)
def test_every_explainer_applies_to_every_model_or_says_why_not(name):
    network = Network(cases.build(name), 4).double().eval()
    for path in CONFIGS:
        reason, values = "", torch.zeros(4, 7, 3)
        try:
            values = attributed(shipped(path), network).values
        except NotApplicable as given:
            reason = str(given)
        assert type(network.encoder).__name__ in reason or not reason
        assert values.shape == (4, 7, 3)
        assert values.isfinite().all()


def test_values_are_zero_past_each_length_and_not_zero_before(explainer, network):
    values = attributed(explainer, network).values
    inside = torch.arange(7) < LENGTHS[:, None]
    assert values.shape == (4, 7, 3)
    assert (values[~inside] == 0).all()
    assert (values[inside] != 0).any()


def test_the_model_its_gradients_and_the_global_random_state_stay_as_they_were(explainer, network):
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS)
    before, random = state_of(network), torch.get_rng_state()
    is_enabled = torch.backends.cudnn.enabled
    with torch.no_grad():
        answers = answer(network, batch.inputs, batch.lengths, batch.query)
    attributed(explainer, network)
    assert state_of(network) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.cudnn.enabled == is_enabled
    with torch.no_grad():
        assert torch.equal(answer(network, batch.inputs, batch.lengths, batch.query), answers)


def test_the_same_generator_gives_the_same_values(explainer, network):
    first, second = (attributed(explainer, network).values for _ in range(2))
    assert torch.equal(first, second)


def test_a_sequence_alone_gets_the_values_that_it_gets_in_a_batch(explainer, network):
    whole = attributed(explainer, network)
    for row in range(len(LENGTHS)):
        alone = attributed(explainer, network, slice(row, row + 1))
        assert_close(alone.values[0], whole.values[row], atol=1e-9, rtol=1e-9)
        if whole.error is not None:
            assert_close(alone.error[0], whole.error[row], atol=1e-6, rtol=1e-6)


class Careless:
    """An explainer that breaks each promise: the tests above must see that."""

    sequences = 4
    calls = 0

    def attribute(self, model, batch, output, *, background, generator):
        model.train()
        self.calls += 1
        values = torch.rand_like(batch.inputs) + self.calls
        return Attribution(values / len(values))


@pytest.mark.parametrize(
    "promise",
    [
        test_values_are_zero_past_each_length_and_not_zero_before,
        test_the_model_its_gradients_and_the_global_random_state_stay_as_they_were,
        test_the_same_generator_gives_the_same_values,
        test_a_sequence_alone_gets_the_values_that_it_gets_in_a_batch,
    ],
)
def test_a_careless_explainer_breaks_every_promise(promise):
    with pytest.raises(AssertionError):
        promise(Careless(), attending())


def test_cudnn_is_off_while_any_explainer_runs():
    seen = []

    class Looks:
        sequences = 4

        def attribute(self, model, batch, output, *, background, generator):
            seen.append(torch.backends.cudnn.enabled)
            return Attribution(torch.zeros_like(batch.inputs))

    attributed(Looks(), attending())
    assert seen == [False]
