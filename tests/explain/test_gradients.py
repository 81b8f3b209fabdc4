"""The explainers that read gradients: closed forms, Captum's results, and the sums they promise."""

import pytest
import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import Saliency as CaptumSaliency
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.explain.base import Attribution, answer, attribution_of
from lookback.explain.gradient_shap import GradientShap
from lookback.explain.input_times_gradient import InputTimesGradient
from lookback.explain.saliency import Saliency
from lookback.explain.smooth_grad import SmoothGrad
from tests.cells import padded

from .known import asked, gated, linear, quadratic

LENGTHS = torch.tensor([7, 4, 1])
OUTPUT = torch.tensor([0, 3, 2])
INPUTS = padded(LENGTHS, 7, 3)
BACKGROUND = padded(torch.full((5,), 7), 7, 3, seed=1)
WEIGHT = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(2)).double()
INSIDE = (torch.arange(7) < LENGTHS[:, None]).unsqueeze(-1)


def attribute(explainer, network, seed=0) -> Attribution:
    return attribution_of(
        explainer,
        network,
        asked(INPUTS, LENGTHS),
        OUTPUT,
        background=BACKGROUND,
        generator=torch.Generator().manual_seed(seed),
    )


def test_on_a_linear_model_the_gradient_is_the_weight_and_times_the_distance_its_share():
    weight = WEIGHT[OUTPUT] * INSIDE
    for explainer in (Saliency(3), SmoothGrad(3, draws=3, noise=0.1)):
        assert_close(attribute(explainer, linear(WEIGHT)).values, weight)
    zero = attribute(InputTimesGradient(3, "zero"), linear(WEIGHT))
    assert_close(zero.values, weight * INPUTS)
    mean = attribute(InputTimesGradient(3, "mean"), linear(WEIGHT))
    assert_close(mean.values, weight * (INPUTS - BACKGROUND.mean(0)))
    assert (zero.baseline, mean.baseline) == ("zero", "mean")


def test_gradient_shap_of_a_linear_model_is_the_weight_times_the_mean_distance():
    """With as many draws as one pleases, the mean baseline is the mean of the background."""
    found = attribute(GradientShap(3, draws=1000), linear(WEIGHT))
    expected = WEIGHT[OUTPUT] * INSIDE * (INPUTS - BACKGROUND.mean(0))
    assert_close(found.values, expected, atol=0.3, rtol=0)  # 4 standard errors
    assert found.error.max() < 1e-9  # a linear answer leaves no error of the integration
    assert found.baseline == "data"


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_gradients_equal_captums(name):
    network, query = gated(name), (LENGTHS - 1).unsqueeze(1)
    given = {"target": OUTPUT, "additional_forward_args": (LENGTHS, query)}

    def asked_of(*inputs):
        return answer(network, *inputs)

    saliency = CaptumSaliency(asked_of).attribute(INPUTS.clone(), abs=False, **given)
    product = CaptumInputXGradient(asked_of).attribute(INPUTS.clone(), **given)
    assert_close(attribute(Saliency(3), network).values, saliency)
    assert_close(attribute(InputTimesGradient(3, "zero"), network).values, product)


def test_noise_of_smooth_grad_has_the_share_of_the_range_that_the_setting_says():
    """On Σ w x², the mean gradient is 2 w (x + mean noise), and the noise can be read back."""
    values = attribute(SmoothGrad(3, draws=400, noise=0.2), quadratic(WEIGHT)).values
    noise = (values / (2 * WEIGHT[OUTPUT]) - INPUTS)[:, :1]  # step 0 lies within each length
    for row, length in enumerate(LENGTHS.tolist()):
        within = INPUTS[row, :length]
        scaled = noise[row] / (0.2 * (within.max() - within.min())) * 400**0.5
        assert scaled.abs().max() < 4  # a standard normal value each
        assert scaled.abs().max() > 0.01


def test_gradient_shap_sums_to_the_change_from_its_draws_and_error_says_what_is_missing():
    network = gated("gru")
    few, many = (attribute(GradientShap(3, draws), network) for draws in (4, 250))
    with torch.no_grad():
        query = (LENGTHS - 1).unsqueeze(1)
        here = answer(network, INPUTS, LENGTHS, query).gather(1, OUTPUT[:, None])[:, 0]
        there = torch.stack(
            [answer(network, b.expand_as(INPUTS), LENGTHS, query) for b in BACKGROUND]
        ).mean(0)
    change = here - there.gather(1, OUTPUT[:, None])[:, 0]
    assert_close(many.values.sum((1, 2)), change, atol=0.1, rtol=0)
    assert many.error.max() < 0.05 < few.error.max()


def test_a_noise_of_zero_is_refused():
    with pytest.raises(UserError, match="Make it greater than 0"):
        SmoothGrad(3, draws=2, noise=0.0)
