import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.probes.spectrum import LONGEST, kaplan_yorke, orthonormalised, spectrum

float64 = torch.float64


def matrices(count: int, size: int, *, gain: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, size, size, generator=generator, dtype=float64)
    return gain * drawn / size**0.5


def rotations(count: int, size: int) -> torch.Tensor:
    return torch.linalg.qr(matrices(count, size)).Q


def henon(steps: int, skip: int = 100):
    """The Jacobians of (x, y) → (1 − 1.4 x² + y, 0.3 x) on its attractor (Hénon 1976)."""
    x, y = 0.1, 0.1
    for step in range(skip + steps):
        if step >= skip:
            yield torch.tensor([[-2.8 * x, 1.0], [0.3, 0.0]], dtype=float64)
        x, y = 1 - 1.4 * x * x + y, 0.3 * x


def test_exponents_of_henon_are_the_published_ones_and_sum_to_the_log_of_its_determinant():
    exponents = spectrum(henon(20_000), warm_up=100)
    assert_close(exponents, torch.tensor([0.419, -1.623], dtype=float64), atol=1e-3, rtol=0)
    assert_close(float(exponents.sum()), math.log(0.3), atol=1e-9, rtol=0)
    assert kaplan_yorke(exponents) == pytest.approx(1 + 0.419 / 1.623, abs=1e-3)


def test_exponent_of_the_logistic_map_at_four_is_the_log_of_two():
    """By its angle, x = sin²(π u), u → 2 u: an orbit of period 2^k − 1 sums ln |4 (1 − 2 x)|."""
    period = 2**13 - 1
    angle = math.pi * ((2 ** np.arange(13)[:, None] * np.arange(1, 2)) % period) / period
    slopes = 4 * (1 - 2 * np.sin(angle.ravel()) ** 2)
    assert_close(float(spectrum(torch.tensor(slopes).view(-1, 1, 1))), math.log(2))


def test_exponent_of_the_logistic_map_along_a_computed_orbit_is_the_log_of_two():
    x, slopes = 0.3, []
    for _ in range(20_000):
        slopes.append(4 * (1 - 2 * x))
        x = 4 * x * (1 - x)
    slopes = torch.tensor(slopes, dtype=float64).view(-1, 1, 1)
    assert_close(float(spectrum(slopes)), math.log(2), atol=1e-3, rtol=0)


def test_a_scaled_rotation_has_one_exponent_also_where_the_product_leaves_float64():
    """2^10,000 and 0.02^10,000 are no numbers; their exponents are."""
    turned = rotations(10, 5)
    for gain in (0.02, 1.0, 2.0):
        found = spectrum((gain * turned[step % 10] for step in range(10_000)), warm_up=7)
        assert_close(found, torch.full((5,), math.log(gain), dtype=float64), atol=1e-12, rtol=0)


def test_exponents_of_a_fixed_matrix_are_the_logs_of_its_eigenvalues():
    """Real ones apart, and a complex pair once for each of its two."""
    blocks = torch.block_diag(
        torch.tensor([[3.0]]), torch.tensor([[0.3, -0.4], [0.4, 0.3]]), torch.tensor([[1e-3]])
    ).double()
    base = matrices(1, 4, seed=3)[0] + torch.eye(4, dtype=float64)
    exponents = spectrum((base @ blocks @ base.inverse() for _ in range(900)), warm_up=300)
    expected = torch.tensor([3.0, 0.5, 0.5, 1e-3], dtype=float64).log()
    assert_close(exponents, expected, atol=1e-3, rtol=0)


def test_exponents_are_those_of_a_decomposition_at_every_step():
    """The slow twin: numpy's QR a step, from the same basis."""
    products = matrices(200, 6, gain=0.7)
    products[100:110, 2] *= 1e-9  # a stretch whose product is past float64: 90 digits
    basis, total = np.eye(6), np.zeros(6)
    for step, jacobian in enumerate(products.numpy()):
        basis, r = np.linalg.qr(jacobian @ basis)
        total += np.log(np.abs(np.diag(r))) if step >= 20 else 0
    expected = torch.from_numpy(np.sort(total / 180)[::-1].copy())
    assert_close(spectrum(products, warm_up=20), expected, atol=1e-8, rtol=0)


def test_few_decompositions_serve_many_steps(monkeypatch):
    calls = []

    def counted(basis):
        calls.append(1)
        return orthonormalised(basis)

    monkeypatch.setattr("lookback.probes.spectrum.orthonormalised", counted)
    spectrum(0.9 * rotations(1000, 4))
    assert len(calls) <= 1000 / LONGEST + 6


def test_a_singular_direction_has_the_exponent_minus_infinity_and_spoils_no_other():
    shrinking = torch.tensor([0.5, 0.25, 0.5, 0.4], dtype=float64).expand(50, 4).clone()
    shrinking[20, [1, 2]] = 0.0
    exponents = spectrum(torch.diag_embed(shrinking))
    assert_close(exponents[:2], torch.tensor([0.5, 0.4], dtype=float64).log())
    assert (exponents[2:] == -torch.inf).all()
    assert kaplan_yorke(exponents) == 0.0


def test_what_is_not_finite_has_no_exponents():
    broken = rotations(5, 3)
    broken[2, 0, 0] = torch.nan
    exponents = spectrum(broken)
    assert exponents.isnan().all()
    assert math.isnan(kaplan_yorke(exponents))


def test_warming_up_for_all_steps_leaves_none_to_count():
    with pytest.raises(ValueError, match="3 steps, 3 of them for the warm-up"):
        spectrum(rotations(3, 2), warm_up=3)


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([0.906, 0.0, -14.572], 2 + 0.906 / 14.572),  # Lorenz
        ([0.5, -torch.inf], 1.0),
        ([-0.1, -0.2], 0.0),
        ([0.0, 0.0], 2.0),
        ([0.3, 0.1], 2.0),
    ],
)
def test_kaplan_yorke_by_hand(exponents, dimension):
    assert kaplan_yorke(torch.tensor(exponents, dtype=float64)) == pytest.approx(dimension)
