import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.models.base import Initialisation
from lookback.models.lru import LRU
from lookback.models.lstm import LSTM
from lookback.models.mingru import MinGRU
from lookback.probes.jacobians import jacobians, trajectory
from lookback.probes.lyapunov import Lyapunov, driven_spectrum
from lookback.probes.spectrum import kaplan_yorke, spectrum
from lookback.training.run import load_runs
from tests.cells import GRU, MARKED, TOKENS, write_cell
from tests.probes.recurrences import random_tanh, scaled_rotation
from tests.shipped import make_layer

RECIPE = Initialisation("orthogonal", "xavier_uniform", 1.0)


def inputs(steps: int, features: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, features, generator=generator, dtype=torch.float64)


def lstm(size: int, seed: int = 0) -> LSTM:
    torch.manual_seed(seed)
    encoder = make_layer(LSTM, 2, size)
    encoder.initialise(RECIPE)
    return encoder.double().eval()


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.1])
def test_exponents_of_an_orthogonal_linear_network_are_all_the_log_of_its_gain(gain):
    exponents = driven_spectrum(scaled_rotation(gain), inputs(300), warm_up=30)
    assert_close(exponents, torch.full((8,), math.log(gain), dtype=torch.float64))


def test_exponents_of_an_lru_are_the_logs_of_its_eigenvalues_twice_each():
    torch.manual_seed(0)
    encoder = make_layer(LRU, 2, 6, 1, 5, r_min=0.5, r_max=0.99)
    encoder.initialise(RECIPE)
    encoder = encoder.double().eval()
    modes = encoder.blocks[0].eigenvalues().detach().abs().log().repeat_interleave(2)
    exponents = driven_spectrum(encoder, inputs(100), warm_up=10)
    assert_close(exponents, modes.sort(descending=True).values, atol=1e-9, rtol=0)


def test_exponents_of_two_lru_blocks_are_those_of_both():
    """The second block's state leans on the first's, which turns directions but adds no rate."""
    torch.manual_seed(0)
    encoder = make_layer(LRU, 2, 6, 2, 2, r_min=0.1, r_max=0.99)
    encoder.initialise(RECIPE)
    encoder = encoder.double().eval()
    modes = torch.cat([block.eigenvalues().detach().abs().log() for block in encoder.blocks])
    expected = modes.repeat_interleave(2).sort(descending=True).values
    exponents = driven_spectrum(encoder, inputs(600), warm_up=300)
    assert_close(exponents, expected, atol=1e-3, rtol=0)


def test_an_lstm_without_recurrent_weights_has_the_logs_of_its_forget_gates_and_no_hidden_memory():
    encoder, x = lstm(5), inputs(60)
    with torch.no_grad():
        encoder.kernel.weight_hh_l0.zero_()
    length = torch.tensor([60])
    forget = encoder.trace(x[None], length, length[:, None] - 1).gates["forget/0"][0, 6:]
    exponents = driven_spectrum(encoder, x, warm_up=6)
    expected = forget.log().mean(dim=0).sort(descending=True).values
    assert_close(exponents[:5], expected, atol=1e-9, rtol=0)
    assert (exponents[5:] == -torch.inf).all()


def test_a_mingru_forgets_by_its_own_gates():
    torch.manual_seed(0)
    encoder, x = make_layer(MinGRU, 2, 5, layers=1).double().eval(), inputs(80)
    length = torch.tensor([80])
    update = encoder.trace(x[None], length, length[:, None] - 1).gates["update/0"][0, 8:]
    expected = (1 - update).log().mean(dim=0).sort(descending=True).values
    assert_close(driven_spectrum(encoder, x, warm_up=8), expected, atol=1e-9, rtol=0)


def test_the_first_exponent_of_a_random_tanh_network_crosses_zero_at_a_gain_of_one():
    """Sompolinsky et al. 1988; below it the state falls to zero, where J = W and |λ| ≤ g.

    At N = 200 chaos sets in a little later: at 1.2 the first exponent is still -0.003.
    """
    first = {}
    for gain in (0.9, 1.5):
        encoder = random_tanh(gain, 200)
        start = torch.randn(1, 200, generator=torch.Generator().manual_seed(5)).double()
        encoder.initial_state = lambda batch, start=start: start
        exponents = driven_spectrum(encoder, torch.zeros(240, 1).double(), warm_up=60)
        first[gain] = float(exponents[0])
    assert first[0.9] == pytest.approx(math.log(0.9), abs=0.05)
    assert first[1.5] > 0.03


def published_jacobian(encoder: LSTM, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """∂h_t/∂h_{t-1} with c_{t-1} held, as in the code of Vogt et al. 2020: the upper left block."""
    size = encoder.hidden_size
    h, c = state[:size], state[size:]
    w_x, w_h, b_x, b_h = encoder.kernel.all_weights[0]
    i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    w_i, w_f, w_g, w_o = w_h.chunk(4)
    c_next = f * c + i * g
    by_h = (f * (1 - f) * c)[:, None] * w_f + (i * (1 - i) * g)[:, None] * w_i
    by_h = by_h + (i * (1 - g**2))[:, None] * w_g
    return (o * (1 - o) * c_next.tanh())[:, None] * w_o + (o * (1 - c_next.tanh() ** 2))[
        :, None
    ] * by_h


def test_the_hidden_state_alone_has_another_spectrum_than_an_lstm():
    """Of a fresh LSTM the published Jacobian says that memory fades far faster than it does."""
    encoder, x = lstm(32), inputs(600)
    states = trajectory(encoder, x)
    whole = list(jacobians(encoder, x, states))
    with torch.no_grad():
        blocks = [published_jacobian(encoder, *both) for both in zip(x, states[:-1], strict=True)]
    assert_close(blocks[300], whole[300][:32, :32])  # the block that it is meant to be

    right, published = spectrum(whole, warm_up=60), spectrum(blocks, warm_up=60)
    assert len(right) == 2 * len(published)
    assert float(right[0]) > -0.12
    assert float(right[0] - published[0]) > 0.5
    assert float((right[:32] - published).mean()) > 0.5


def test_measure_is_the_mean_over_the_sequences_that_its_steps_reach(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    frame = Lyapunov(steps=12, warm_up=0.3).measure(run, generator=torch.Generator())
    dataset = run.task().dataset("test")
    lengths, left, rows = dataset.lengths.tolist(), 12, []
    for row, length in enumerate(lengths):
        if length <= left or not rows:
            rows.append(row)
            left -= length
        else:
            break
    assert len(rows) == 2
    for stage, network in {"initial": run.initial(), "trained": run.model}.items():
        encoder = network.double().encoder
        found = [
            driven_spectrum(
                encoder,
                dataset.inputs[row, : lengths[row]].double(),
                warm_up=int(0.3 * lengths[row]),
            )
            for row in rows
        ]
        expected = torch.stack(found).mean(dim=0)
        mine = frame[frame.stage == stage]
        np.testing.assert_allclose(mine.exponent, expected)
        assert mine["index"].tolist() == list(range(6))
        assert set(mine.kaplan_yorke) == {kaplan_yorke(expected)}


def test_measure_leaves_the_run_as_it_was_and_reads_tokens(tmp_path):
    run = next(load_runs(write_cell(tmp_path, TOKENS, GRU)))
    frame = Lyapunov(steps=1, warm_up=0.0).measure(run, generator=torch.Generator())
    assert run.model.head.weight.dtype == torch.float32
    assert np.isfinite(frame.exponent).all()
    assert frame.groupby("stage").exponent.first().nunique() == 2
