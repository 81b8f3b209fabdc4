import numpy as np
import pytest
import torch
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import StandardScaler

from lookback.probes.readout import HeldOutReadout


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [3, 40])  # fewer states than samples to fit, and more
@pytest.mark.parametrize("penalty", [1e-4, 0.3, 50.0])
def test_the_closed_form_is_scikit_learns_ridge_on_scaled_states(size, penalty):
    states, targets = 5 + 3 * drawn(43, size), drawn(43, 2, seed=1) + 4
    fit = slice(0, 21)
    scaler = StandardScaler().fit(states[fit].numpy())
    z = scaler.transform(states.numpy())
    model = Ridge(penalty * 21).fit(z[fit], targets[fit].numpy())
    found = HeldOutReadout(states).answers(targets, penalty)
    np.testing.assert_allclose(found.numpy(), model.predict(z), atol=1e-8)


def test_skill_is_that_of_the_penalty_chosen_on_the_third_quarter_over_the_fitted_mean():
    states, targets = drawn(400, 150), drawn(400, 2, seed=1) * torch.tensor([1.0, 3.0])
    targets += 4 * states[:, :2]
    readout, penalties = HeldOutReadout(states), [1e-6, 0.1, 1.0, 100.0]
    fit, choose, judge = np.split(targets.numpy(), [200, 300])
    answers = [readout.answers(targets, penalty).numpy() for penalty in penalties]
    chosen = np.argmin([mean_squared_error(choose, found[200:300]) for found in answers])
    constant = DummyRegressor().fit(fit, fit).predict(judge)
    expected = 1 - mean_squared_error(judge, answers[chosen][300:]) / mean_squared_error(
        judge, constant
    )
    assert readout.skill(targets, penalties) == pytest.approx(expected)
    assert chosen not in (0, 3)


def test_a_changed_target_of_the_last_quarter_changes_no_answer():
    states, targets = drawn(40, 5), drawn(40, 1, seed=1)
    other = torch.cat([targets[:30], drawn(10, 1, seed=2)])
    found = [HeldOutReadout(states).answers(these, 0.1) for these in (targets, other)]
    assert torch.equal(*found)


def test_noise_finds_nothing_and_a_linear_map_all():
    states, penalties = drawn(2000, 50), [1e-6, 1e-2, 1.0, 100.0, 1e4]
    readout = HeldOutReadout(states)
    assert readout.skill(drawn(2000, 3, seed=1), penalties) == pytest.approx(0, abs=0.02)
    assert readout.skill(states @ drawn(50, 3, seed=2), penalties) == pytest.approx(1, abs=1e-6)


def test_a_state_that_never_moves_is_passed_over():
    states = torch.full((40, 2), 0.1)
    assert HeldOutReadout(states).skill(drawn(40, 1), [1e-6]) == pytest.approx(0, abs=0.3)
