import numpy as np
import pytest

from lookback.summarise.trust_horizon import answers_of, horizons

SEEDS, COUNT, LONGEST = 3, 1600, 64


def arrays(remembers: int, sees: int, chance: float = 0.0) -> dict[str, np.ndarray]:
    """Answers right up to the lag `remembers`, whose evidence is found up to the lag `sees`."""
    generator = np.random.default_rng(0)
    lag = np.exp(generator.uniform(0, np.log(LONGEST), COUNT)).round().astype(int)
    lucky = generator.random((SEEDS, COUNT)) < chance
    return {
        "seeds": np.arange(SEEDS),
        "lag": lag,
        "is_right": (lag <= remembers) | lucky,
        "evidence_auprc": np.where((lag <= sees) & np.ones((SEEDS, 1), bool), 0.9, 0.1),
    }


def test_the_trust_horizon_is_where_either_the_memory_or_the_sight_ends():
    for remembers, sees in ((32, 8), (8, 32)):
        row = horizons(answers_of(arrays(remembers, sees), 0.0))
        assert row["memory"] == pytest.approx(remembers, rel=0.25)
        assert row["trust"] == pytest.approx(min(remembers, sees), rel=0.25)
        assert row["gap"] == pytest.approx(row["memory"] - row["trust"])
        assert row["trust_low"] <= row["trust"] <= row["trust_high"]
    assert row["answers"] == SEEDS * COUNT
    assert row["seeds"] == SEEDS


def test_an_explainer_that_finds_all_evidence_leaves_no_gap_and_no_half_life():
    row = horizons(answers_of(arrays(LONGEST, LONGEST), 0.0))
    assert row["trust"] == row["memory"] == row["half_life"] == LONGEST
    assert row["trust_censored"]
    assert row["half_life_censored"]
    assert row["gap"] == 0


def test_the_half_life_takes_right_answers_only_and_the_fall_to_half():
    row = horizons(answers_of(arrays(LONGEST, 16), 0.0))
    assert row["half_life"] == pytest.approx(16, rel=0.25)
    # A precision of 0.4 at all lags has no sight above one half, and never falls to its half.
    low = arrays(LONGEST, LONGEST)
    row = horizons(answers_of({**low, "evidence_auprc": 0.4 * low["is_right"]}, 0.0))
    assert row["sight_below"]
    assert row["trust_below"]
    assert row["sight"] == row["trust"] == low["lag"].min()
    assert row["half_life"] == LONGEST
    assert row["half_life_censored"]


def test_answers_that_are_right_by_chance_do_not_count_as_memory():
    """After lag 8, half of the answers are right by chance, which is the baseline."""
    row = horizons(answers_of(arrays(8, LONGEST, chance=0.5), 0.5))
    assert row["memory"] == pytest.approx(8, rel=0.25)


def test_answers_without_a_lag_or_a_score_are_left_out():
    given = arrays(LONGEST, LONGEST)
    given["lag"][:10] = -1
    given["evidence_auprc"][:, 10:15] = np.nan
    assert len(answers_of(given, 0.0)) == SEEDS * (COUNT - 15)
