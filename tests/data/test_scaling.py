"""Scaling against the scalers of scikit-learn."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from lookback.data.scaling import Scaling, unit_range
from lookback.data.task import SPLITS


def test_a_mean_and_a_scale_for_each_feature_act_like_the_standard_scaler():
    raw = np.random.default_rng(0).normal([1, -20, 300], [2, 0.1, 50], (7, 5, 3))
    theirs = StandardScaler().fit(raw.reshape(-1, 3))
    ours = Scaling(tuple(theirs.mean_), tuple(theirs.scale_)).apply(torch.from_numpy(raw))
    expected = theirs.transform(raw.reshape(-1, 3)).reshape(raw.shape)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert ours.dtype == torch.float32


@pytest.mark.parametrize("brightest", [16, 255])
def test_grey_values_fill_the_unit_range_like_the_min_max_scaler(brightest):
    raw = np.arange(brightest + 1, dtype=np.uint8)
    ours = unit_range(brightest, features=1).apply(torch.from_numpy(raw).unsqueeze(1))
    np.testing.assert_allclose(ours, MinMaxScaler().fit_transform(raw[:, None]), rtol=1e-6)
    # The result is correctly rounded: it is the float32 nearest to the exact quotient.
    assert torch.equal(ours, (torch.from_numpy(raw).double() / brightest).float().unsqueeze(1))


@pytest.mark.parametrize("name", ["digits_rows", "digits_pixels"])
def test_images_are_scaled_as_their_facts_say(name, fetched, config):
    fetched("digits")
    task = instantiate(config(f"task={name}"))
    facts = task.facts()
    for split in SPLITS:
        raw = task.images(split)[0].reshape(-1, facts.length, facts.features)
        expected = (raw - np.array(facts.mean)) / np.array(facts.scale)
        np.testing.assert_allclose(task.dataset(split).inputs, expected, rtol=1e-6)
