import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch.testing import assert_close

from lookback.data.batch import Batch
from lookback.explain import perturbation
from lookback.explain.base import answer
from lookback.explain.occlusion import Occlusion
from lookback.models.network import Network
from tests.cells import padded
from tests.models import cases

from .known import asked, by_the_equations, gated, state_of

LENGTHS = torch.tensor([7, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])


def attribute(network, windows, each_feature=False, baseline="mean"):
    dtype = network.head.weight.dtype
    batch = asked(padded(LENGTHS, 7, 3).to(dtype), LENGTHS)
    background = padded(torch.full((5,), 7), 7, 3, seed=1).to(dtype)
    explainer = Occlusion(3, windows, each_feature, baseline, draws=4)
    attribution = explainer.attribute(
        network, batch, OUTPUT, background=background, generator=torch.Generator()
    )
    return attribution.values, batch.inputs, background.mean(0)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_step_is_worth_what_the_answer_loses_when_it_alone_is_replaced(name):
    network = gated(name)
    values, inputs, mean = attribute(network, windows=7)
    for row, length in enumerate(LENGTHS.tolist()):
        whole = by_the_equations(network, inputs[row], length)[OUTPUT[row]]
        for step in range(length):
            occluded = inputs[row].clone()
            occluded[step] = mean[step]
            drop = whole - by_the_equations(network, occluded, length)[OUTPUT[row]]
            assert_close(values[row, step], (drop / 3).expand(3))
        assert (values[row, length:] == 0).all()


def test_steps_equal_captums_occlusion():
    network = gated("lstm")
    values, inputs, mean = attribute(network, windows=100)
    expected = CaptumOcclusion(lambda *given: answer(network, *given)).attribute(
        inputs,
        sliding_window_shapes=(1, 3),
        baselines=mean.expand_as(inputs),
        target=OUTPUT,
        additional_forward_args=(LENGTHS, (LENGTHS - 1).unsqueeze(1)),
    )
    assert_close(values.float() * 3, expected)  # captum sums in float32


def test_the_steps_of_a_window_share_what_the_answer_loses_without_all_of_them():
    network = gated("gru")
    values, inputs, mean = attribute(network, windows=3)  # steps 0-2, 3-5 and 6
    for row, length in enumerate(LENGTHS.tolist()):
        whole = by_the_equations(network, inputs[row], length)[OUTPUT[row]]
        for start in range(0, length, 3):
            occluded = inputs[row].clone()
            occluded[start : start + 3] = mean[start : start + 3]
            drop = whole - by_the_equations(network, occluded, length)[OUTPUT[row]]
            shares = values[row, start : min(start + 3, length)]
            assert_close(shares, (drop / shares.numel()).expand_as(shares))


def test_the_model_stays_as_it_was():
    network = gated("lstm")
    before = state_of(network)
    attribute(network, windows=7)
    assert state_of(network) == before


def test_each_feature_alone_equals_captums_occlusion_of_one_value():
    network = gated("gru")
    values, inputs, mean = attribute(network, windows=7, each_feature=True)
    expected = CaptumOcclusion(lambda *given: answer(network, *given)).attribute(
        inputs,
        sliding_window_shapes=(1, 1),
        baselines=mean.expand_as(inputs),
        target=OUTPUT,
        additional_forward_args=(LENGTHS, (LENGTHS - 1).unsqueeze(1)),
    )
    assert_close(values.float(), expected)


def test_with_baselines_from_the_data_a_value_is_the_mean_over_the_sequences_drawn():
    network = gated("lstm")
    values, inputs, _ = attribute(network, windows=7, baseline="data")
    background = padded(torch.full((5,), 7), 7, 3, seed=1)
    whole = by_the_equations(network, inputs[0], 7)[OUTPUT[0]]
    for step in range(7):
        drops = []
        for donor in background[:4]:
            occluded = inputs[0].clone()
            occluded[step] = donor[step]
            drops.append(whole - by_the_equations(network, occluded, 7)[OUTPUT[0]])
        assert_close(values[0, step].sum(), torch.stack(drops).mean())


@pytest.mark.parametrize("name", [*cases.CASES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_model_gives_what_it_gives_for_each_changed_sequence_alone(name, dtype, monkeypatch):
    """A recurrent model resumes at the first changed step, which small passes make it do often."""
    network = Network(cases.build(name), 4).to(dtype).eval()
    inputs = padded(LENGTHS, 7, 3).to(dtype)
    query = torch.tensor([[6], [1], [0]])
    batch = Batch(inputs, LENGTHS, query, torch.zeros_like(query))
    monkeypatch.setattr(perturbation, "STEPS_AT_ONCE", 2 * 3 * 7)
    explainer = Occlusion(3, 7, each_feature=False, baseline="zero", draws=1)
    given = {"background": inputs, "generator": torch.Generator()}
    values = explainer.attribute(network, batch, OUTPUT, **given).values.sum(2)
    with torch.no_grad():
        for row, length in enumerate(LENGTHS.tolist()):
            for step in range(length):
                alone, occluded = inputs[row : row + 1], inputs[row : row + 1].clone()
                occluded[:, step] = 0
                asked_of = LENGTHS[row : row + 1], query[row : row + 1]
                drop = answer(network, alone, *asked_of) - answer(network, occluded, *asked_of)
                close = {"atol": 1e-6, "rtol": 1e-5}
                assert_close(values[row, step], drop[0, OUTPUT[row]], **close)
