"""The tile and the functions that every kernel is made of."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core.errors import TypingError
from scipy.special import expit

from lookback.kernels.compiled import HERE, Backward, Saved, Strided, compiled
from lookback.kernels.functions import logistic, tanh
from lookback.kernels.product import add_weights, multiply, pack
from lookback.kernels.vectors import load, row, store


@compiled
def of_all(values, tanhs, logistics):
    for r in range(len(values)):
        x = load(row(values, r), 0, 8)
        store(row(tanhs, r), 0, tanh(x))
        store(row(logistics, r), 0, logistic(x))


@pytest.mark.parametrize("depth", [1, 2, 7, 64, 129])
@pytest.mark.parametrize("columns", [8, 16, 24, 32, 40, 168])
def test_a_product_is_numpys(depth, columns):
    generator = np.random.default_rng(depth * columns)
    a = generator.normal(size=(12, depth + 5)).astype(np.float32)
    b = generator.normal(size=(depth, columns)).astype(np.float32)
    packed, out = np.empty(b.size, np.float32), np.full((10, columns + 3), 7, np.float32)
    pack(b, packed)
    multiply(8, columns, depth, a, 4, 2, packed, out, 1, 3)
    exact = a[4:12, 2 : 2 + depth].astype(np.float64) @ b
    np.testing.assert_allclose(out[1:9, 3:], exact, atol=1e-4)
    assert (out[0] == 7).all()
    assert (out[9] == 7).all()
    assert (out[:, :3] == 7).all()


def test_weights_gather_over_steps_latest_first():
    """Three steps of eight rows, from step 1 on; 24 columns of sums, of which h met the last 16."""
    generator = np.random.default_rng(0)
    line = generator.normal(size=(5, 12, 6 + 16)).astype(np.float32)
    sums = generator.normal(size=(3 * 8, 24)).astype(np.float32)
    of_line = np.ones((24, 24), np.float32)
    nothing = np.empty((0, 12, 8), np.float32)
    saved = Saved(line, 6, 16, nothing, nothing, np.full(12, 4))
    flat = np.empty(0, np.float32)
    back = Backward(Strided(flat, 0, 0), flat, flat, 3, of_line, nothing)
    add_weights(saved, back, sums, 3, 8, 1, 4, 12)
    wanted = np.ones((24, 6 + 16))
    for place, step in enumerate((3, 2, 1)):
        own = sums[place * 8 : (place + 1) * 8].astype(np.float64)
        wanted += own.T @ line[step, 4:12]
    np.testing.assert_allclose(of_line[:, :6], wanted[:, :6], atol=1e-4)
    np.testing.assert_allclose(of_line[8:, 6:22], wanted[8:, 6:], atol=1e-4)


def test_tanh_and_the_logistic_function_are_right_to_four_parts_in_ten_million():
    values = np.linspace(-30, 30, 200_008, dtype=np.float32).reshape(-1, 8)
    values[0] = [np.nan, np.inf, -np.inf, 0, -0.0, 1e-40, 1e30, -1e30]
    tanhs, logistics = np.empty_like(values), np.empty_like(values)
    of_all(values, tanhs, logistics)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(tanhs, np.tanh(exact), atol=4e-7, rtol=0)
    np.testing.assert_allclose(logistics, expit(exact), atol=4e-7, rtol=0)


def test_machine_code_is_kept_by_the_content_of_the_folder_and_not_by_its_path():
    place = multiply._cache.cache_path  # type: ignore[attr-defined]
    assert place == pack._cache.cache_path  # type: ignore[attr-defined]
    assert not place.startswith(str(HERE))


def test_a_matrix_in_another_order_is_refused():
    matrix = np.ones((8, 16), np.float32, order="F")
    with pytest.raises(TypingError, match="C order"):
        pack(matrix, np.empty(matrix.size, np.float32))


def test_without_a_writable_folder_kernels_are_compiled_without_a_cache(tmp_path):
    """A file stands where the cache folder should be. Nothing is written beside the sources."""
    (tmp_path / "lookback").touch()
    code = (
        "import numpy as np; from lookback.kernels.product import pack;"
        "packed = np.zeros(8, np.float32); pack(np.ones((1, 8), np.float32), packed);"
        "assert packed.all(); assert not pack.stats.cache_path"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
