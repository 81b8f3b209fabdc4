"""LRU: what its weights start from, and its recurrence over long sequences."""

import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.lru import LRU
from tests.shipped import make_layer

from .cases import FEATURES, HIDDEN

RECIPE = Initialisation("orthogonal", "xavier_uniform", 1.0)


def initialised(layers=1, modes=4000, r_min=0.6, r_max=0.95, max_phase=1.5, **more):
    model = make_layer(LRU, FEATURES, HIDDEN, layers, modes, r_min, r_max, max_phase, **more)
    torch.manual_seed(0)
    model.initialise(RECIPE)
    return model


def test_eigenvalues_start_uniform_on_the_ring():
    """Lemma 3.2: |λ|² ~ U(r_min², r_max²), the angle ~ U(0, max_phase): uniform in area."""
    eigenvalues = initialised().blocks[0].eigenvalues().detach()
    squares, angles = eigenvalues.abs().square().numpy(), eigenvalues.angle().numpy()
    low, high = 0.6**2, 0.95**2
    assert low * 0.999 <= squares.min() < squares.max() <= high * 1.001
    assert stats.kstest(squares, stats.uniform(low, high - low).cdf).pvalue > 0.01
    assert stats.kstest(angles, stats.uniform(0, 1.5).cdf).pvalue > 0.01


def test_the_test_of_the_ring_sees_radii_that_are_uniform_instead():
    """Uniform in radius and not in area: what a slip in the square would give."""
    radii = 0.6 + 0.35 * torch.rand(4000, generator=torch.Generator().manual_seed(0))
    uniform = stats.uniform(0.6**2, 0.95**2 - 0.6**2).cdf
    assert stats.kstest(radii.square().numpy(), uniform).pvalue < 1e-3


@pytest.mark.parametrize(("r_min", "r_max"), [(0.0, 1.0), (0.9, 0.999)])
def test_a_state_is_no_larger_than_what_drives_it(r_min, r_max):
    """γ² = 1 - |λ|²: of white noise, Σ_k |λ^k|² γ² = 1, so E|s|² = E|B u|² (section 3.4)."""
    block = initialised(r_min=r_min, r_max=r_max).blocks[0]
    gamma = block.gamma_log.exp().double().square()
    power = gamma / (1 - block.eigenvalues().abs().double().square())
    assert_close(power, torch.ones_like(power), atol=1e-2, rtol=0)


def test_matrices_start_with_the_papers_variances():
    block = initialised().blocks[0]
    for part in (block.b_real, block.b_imag):
        assert math.isclose(float(part.detach().std()), (2 * HIDDEN) ** -0.5, rel_tol=0.05)
    for part in (block.c_real, block.c_imag):
        assert math.isclose(float(part.detach().std()), 4000**-0.5, rel_tol=0.05)


@pytest.mark.parametrize(
    ("r_max", "changes"), [(0.9999, {"layers": 2}), (0.999, {"bidirectional": True})]
)
def test_4096_steps_in_float32_are_those_of_float64_one_after_another(r_max, changes):
    """Features and all gradients, to 1e-5 of each tensor's largest."""
    ring = {"modes": 8, "r_min": 0.9, "r_max": r_max, **changes}
    fast, slow = initialised(**ring), initialised(**ring).double()
    names = ["features", "inputs", *(name for name, _ in fast.named_parameters())]
    found, expected = (
        of_4096_steps(model, way) for model, way in ((fast, "forward"), (slow, "trace"))
    )
    for name, one, other in zip(names, found, expected, strict=True):
        scale = float(other.abs().max())
        assert_close(one.double(), other, atol=1e-5 * scale, rtol=0, msg=name)


def test_4096_steps_by_step_in_float32_are_those_of_float64():
    ring = {"modes": 8, "r_min": 0.9, "r_max": 0.999}
    single, double = initialised(**ring), initialised(**ring).double()
    for one, other in zip(
        of_4096_steps(single, "trace"), of_4096_steps(double, "trace"), strict=True
    ):
        assert_close(one.double(), other, atol=1e-5 * float(other.abs().max()), rtol=0)


def of_4096_steps(model, way):
    """Features at four steps, and the gradients of inputs and parameters, detached."""
    generator, dtype = torch.Generator().manual_seed(1), model.enter.weight.dtype
    inputs = torch.randn(2, 4096, FEATURES, generator=generator).to(dtype).requires_grad_()
    asked = inputs, torch.tensor([4096, 3000]), torch.tensor([[4095, 0], [2999, 1500]])
    if way == "forward":
        features = model(*asked)
    else:
        features = model.trace(*asked, differentiable=True).features
    gradients = torch.autograd.grad(features.square().sum(), [inputs, *model.parameters()])
    return [features.detach(), *gradients]


def test_powers_of_a_rounded_eigenvalue_would_not_hold_that():
    """The test of the test: Λ in single precision, to its 1,000th power."""
    eigenvalues = initialised(modes=64, r_min=0.99, r_max=0.9999).blocks[0].eigenvalues().detach()
    exact = eigenvalues**1000
    rounded = eigenvalues.to(torch.complex64).to(exact.dtype) ** 1000
    assert float((rounded - exact).abs().max() / exact.abs().max()) > 1e-5


def test_an_eigenvalue_stays_inside_the_circle_whatever_training_does():
    block = initialised(modes=5).blocks[0]
    with torch.no_grad():
        block.nu_log.copy_(torch.tensor([-10.0, -1.0, 0.0, 1.0, 50.0]))
    assert (block.eigenvalues().abs() < 1).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r_min": 0.99, "r_max": 0.9}, "0 ≤ r_min < r_max ≤ 1"),
        ({"r_max": 1.1}, "0 ≤ r_min < r_max ≤ 1"),
        ({"max_phase": 7.0}, "2π at most"),
        ({"modes": 0}, "`modes` is 0"),
    ],
)
def test_a_ring_that_is_none_is_a_mistake(changes, said):
    with pytest.raises(UserError, match=said):
        initialised(**{"modes": 4, **changes})
