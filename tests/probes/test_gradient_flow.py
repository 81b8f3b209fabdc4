import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.data.batch import Batch
from lookback.models.base import Initialisation
from lookback.models.lru import LRU
from lookback.models.lstm import LSTM
from lookback.models.mingru import MinGRU
from lookback.models.network import Network
from lookback.models.transformer import Transformer
from lookback.probes.gradient_flow import (
    DISTANCES,
    GradientFlow,
    log_norm,
    log_norms,
    quartiles,
    spaced,
)
from lookback.training.run import load_runs
from tests.cells import GRU, MARKED, padded, write_cell
from tests.probes.recurrences import scaled_rotation
from tests.shipped import make_layer


def network_of(gain: float, size: int = 8) -> Network:
    return Network(scaled_rotation(gain, size), 1).double().eval()


def asked_at_the_end(lengths: list[int], time: int, features: int = 2) -> Batch:
    lengths = torch.tensor(lengths)
    target = torch.arange(len(lengths), dtype=torch.float64).view(-1, 1, 1)
    return Batch(padded(lengths, time, features), lengths, lengths.unsqueeze(1) - 1, target)


def test_gradient_of_a_scaled_rotation_falls_exactly_as_its_scale():
    """‖∂L/∂h_t‖ = 0.4^d ‖2 (y − target) w‖: down to e^-640, far below float32 and its squares."""
    network, batch = network_of(0.4), asked_at_the_end([700, 700], 700)
    norms = log_norms(network, batch, "value")["hidden/0"]
    w_x, w_h, b_x, b_h = network.encoder.kernel.all_weights[0]
    with torch.no_grad():
        h = torch.zeros(2, 8, dtype=torch.float64)
        for x in batch.inputs.unbind(1):
            h = x @ w_x.T + b_x + h @ w_h.T + b_h
        error = network.head(h) - batch.target[:, 0]
        at_query = (2 * error * network.head.weight).norm(dim=1, keepdim=True).log()
    assert_close(norms, at_query + torch.arange(700, dtype=torch.float64) * math.log(0.4))


def test_gradient_of_a_growing_rotation_grows_exactly_as_its_scale():
    norms = log_norms(network_of(2.0), asked_at_the_end([300], 300), "value")["hidden/0"][0]
    assert_close(norms - norms[0], torch.arange(300, dtype=torch.float64) * math.log(2.0))


def test_a_gradient_past_float64_is_counted_as_vanished_and_has_no_logarithm():
    norms = log_norms(network_of(0.4), asked_at_the_end([900, 900], 900), "value")["hidden/0"]
    frame = quartiles(norms).set_index("distance")
    assert frame.vanished[700] == 0
    assert np.isfinite(frame.log_norm[700])
    assert frame.vanished[899] == 1
    assert np.isnan(frame.log_norm[899])


def test_gradient_of_an_lstm_equals_autograd_through_its_equations():
    torch.manual_seed(0)
    network = Network(make_layer(LSTM, 3, 5), 4).double().eval()
    lengths, time = torch.tensor([1, 4, 7]), 7
    inputs, target = padded(lengths, time, 3), torch.tensor([[0], [3], [2]])
    batch = Batch(inputs, lengths, lengths.unsqueeze(1) - 1, target)

    w_x, w_h, b_x, b_h = network.encoder.kernel.all_weights[0]
    expected = {state: torch.full((3, time), torch.nan).double() for state in ("hidden", "cell")}
    for row, length in enumerate(lengths.tolist()):
        h, c = torch.zeros(5).double(), torch.zeros(5).double()
        hidden, cells = [], []
        for x in inputs[row, :length]:
            i, f, g, o = (w_x @ x + b_x + w_h @ h + b_h).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            hidden.append(h)
            cells.append(c)
        loss = -network.head(h).log_softmax(0)[target[row, 0]]
        for state, steps in {"hidden": hidden, "cell": cells}.items():
            gradients = torch.autograd.grad(loss, steps, retain_graph=True)
            norms = torch.stack([gradient.norm().log() for gradient in gradients])
            expected[state][row, :length] = norms.flip(0)

    found = log_norms(network, batch, "class")
    assert found.keys() == {"hidden/0", "cell/0"}
    for state, norms in expected.items():
        assert_close(found[f"{state}/0"], norms, equal_nan=True)


def test_gradient_of_a_mingru_falls_as_the_product_of_its_own_gates():
    """∂h_T/∂h_t = Π (1 - z): the gates do not look at the state, so nothing else is on the way."""
    torch.manual_seed(0)
    network = Network(make_layer(MinGRU, 2, 5, layers=1), 1).double().eval()
    batch = asked_at_the_end([9, 6], 9)
    trace = network.trace(batch.inputs, batch.lengths, batch.query)[1]
    norms = log_norms(network, batch, "value")["hidden/0"]
    for row, length in enumerate(batch.lengths.tolist()):
        kept = (1 - trace.gates["update/0"])[row, :length]
        answer = network.head(trace.states["hidden/0"][row, length - 1])
        gradient = (2 * (answer - batch.target[row, 0]) * network.head.weight)[0]
        for distance in range(length):
            expected = gradient * kept[length - distance :].prod(dim=0)
            assert_close(norms[row, distance], expected.norm().log())


def test_gradient_of_an_lru_falls_as_its_eigenvalues_do():
    """All |λ| = r: a state's real and imaginary parts keep r of their norm a step, and turn."""
    torch.manual_seed(0)
    network = Network(make_layer(LRU, 2, 4, 1, 3, r_min=0.5, r_max=0.9), 1)
    network.encoder.initialise(Initialisation("orthogonal", "xavier_uniform", 1.0))
    with torch.no_grad():
        network.encoder.blocks[0].nu_log.fill_(math.log(-math.log(0.8)))
    norms = log_norms(network.double().eval(), asked_at_the_end([40], 40), "value")["hidden/0"][0]
    assert_close(norms - norms[0], torch.arange(40).double() * math.log(0.8), atol=1e-5, rtol=0)


def test_only_the_queried_step_of_a_transformers_last_layer_has_a_gradient():
    torch.manual_seed(0)
    network = (
        Network(make_layer(Transformer, 2, 8, layers=2, heads=2, feedforward=8), 1).double().eval()
    )
    norms = log_norms(network, asked_at_the_end([7, 7], 7), "value")
    assert norms["hidden/1"][:, 0].isfinite().all()
    assert (norms["hidden/1"][:, 1:] == -torch.inf).all()
    assert norms["hidden/0"].isfinite().all()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_log_norm_survives_where_squares_do_not(scale):
    vectors = torch.tensor([[3.0, 4.0], [0.0, -1.0]], dtype=torch.float64)
    assert_close(log_norm(vectors * scale), vectors.norm(dim=1).log() + math.log(scale))


def test_quartiles_are_numpys_and_pass_over_sequences_without_that_step():
    norms = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    norms = torch.cat([norms, torch.full((2, 3), torch.nan)])  # two shorter sequences
    norms[:, 2] = torch.nan
    norms[0, 1] = -torch.inf
    frame = quartiles(norms)
    assert frame.distance.tolist() == [0, 1]
    expected = np.quantile(norms[:5, 0].numpy(), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(frame.loc[0, ["low", "log_norm", "high"]].tolist(), expected)
    assert frame.vanished.tolist() == [0, 0.2]


def test_measure_tells_before_from_after_training_and_leaves_the_run_as_it_was(tmp_path):
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    frame = GradientFlow(sequences=5, jacobian_steps=12).measure(run, generator=torch.Generator())
    assert run.model.head.weight.dtype == torch.float32
    assert all(parameter.grad is None for parameter in run.model.parameters())

    batch = run.task().dataset("test").batch(slice(5)).asked_last()
    doubled = Batch(batch.inputs.double(), batch.lengths, batch.query, batch.target.double())
    for stage, network in {"initial": run.initial(), "trained": run.model}.items():
        expected = quartiles(log_norms(network.double(), doubled, "value")["hidden/0"])
        rows = frame[(frame.stage == stage) & (frame.state == "hidden/0")]
        np.testing.assert_allclose(rows.log_norm, expected.log_norm)
    assert frame.groupby("stage").log_norm.first().nunique() == 2


def test_the_jacobians_norm_is_that_of_autograd_from_the_query_back_to_each_state(tmp_path):
    """∂s_q/∂s_t of the first two sequences by torch.autograd, its largest singular value by SVD."""
    run = next(load_runs(write_cell(tmp_path, MARKED, GRU)))
    frame = GradientFlow(sequences=5, jacobian_steps=12).measure(run, generator=torch.Generator())
    dataset, encoder = run.task().dataset("test"), run.model.double().encoder
    expected = torch.full((2, 7), torch.nan).double()
    for row in range(2):
        query = int(dataset.query[row].max())
        states = [torch.zeros(6).double()]
        for x in dataset.inputs[row, : query + 1].double():
            states.append(encoder.step(x[None], states[-1][None])[1][0])
        for distance in range(query + 1):
            whole = [
                torch.autograd.grad(unit, states[-1 - distance], retain_graph=True)[0]
                for unit in states[-1]
            ]
            expected[row, distance] = torch.linalg.svdvals(torch.stack(whole))[0].log()
    rows = frame[(frame.stage == "trained") & (frame.quantity == "jacobian")]
    assert rows.state.unique().tolist() == ["state"]
    assert rows.distance.tolist() == quartiles(expected).distance.tolist()
    np.testing.assert_allclose(rows.log_norm, quartiles(expected).log_norm, atol=1e-12)


@pytest.mark.parametrize("farthest", [0, 1, 5, 255, 9_999])
def test_distances_reach_from_none_to_the_farthest_evenly_in_their_logarithm(farthest):
    distances = spaced(farthest)
    assert distances[0] == 0
    assert distances[-1] == farthest
    assert distances == sorted(set(distances))
    assert len(distances) <= DISTANCES + 1
    far = np.array([distance for distance in distances if distance > 50])
    assert (far[1:] / far[:-1] < 1.36).all()
