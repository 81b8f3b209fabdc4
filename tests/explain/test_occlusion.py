import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch.testing import assert_close

from lookback.explain.base import answer
from lookback.explain.occlusion import Occlusion
from tests.cells import padded

from .known import asked, by_the_equations, gated, state_of

LENGTHS = torch.tensor([7, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])


def attribute(network, windows):
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS)
    background = padded(torch.full((5,), 7), 7, 3, seed=1)
    attribution = Occlusion(sequences=3, windows=windows).attribute(
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
