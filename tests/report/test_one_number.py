"""One quantity has one value: on the memory card, in the report's sentences, and in MLflow.

Each probe below measured something for which two formulas that both look right give two values.
"""

import math
import re

import numpy as np
import pandas as pd
import pytest

from lookback.report.card_table import value_of
from lookback.report.numbers import number, steps
from lookback.report.probe_figures import figure_module
from lookback.storage.atomic import read_json
from lookback.storage.study_paths import StudyPaths
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise.cells import cells_of
from lookback.summarise.quantities.registry import BY_NAME, PROBES, QUANTITIES
from lookback.summarise.rates import half_distance
from lookback.tracking.read_results import summary_points
from tests.fake_memory import PROBES as CONFIGS
from tests.fake_memory import recall
from tests.fake_study import SEEDS, gradients_of, write_study

from .conftest import Made, make

TASK, MODEL = "adding", "lstm"


def of_seeds(frames: list[pd.DataFrame]) -> pd.DataFrame:
    pairs = zip(SEEDS, frames, strict=True)
    return pd.concat([frame.assign(seed=seed) for seed, frame in pairs], ignore_index=True)


def gradients() -> pd.DataFrame:
    """Seeds fade at 0.02, 0.1 and 0.2 nats a step: the mean rate is not the rate of the mean."""
    frame = gradients_of(MODEL, 50, SEEDS)
    rate = frame["seed"].map({0: 0.02, 1: 0.1, 2: 0.2})
    return frame.assign(log_norm=-rate * frame["distance"], low=-1.0, high=1.0)


def exponents() -> pd.DataFrame:
    first = [-0.3, -0.1, 0.05]
    frames = [pd.DataFrame({"index": [0, 1], "exponent": [value, -2.0]}) for value in first]
    both = [frame.assign(stage=stage) for stage in ("initial", "trained") for frame in frames]
    return of_seeds([pd.concat(both[place::3]) for place in range(3)]).assign(kaplan_yorke=0.0)


def capacities() -> pd.DataFrame:
    """Half of the delays have a negative estimate: clipped they would add up to 3 more."""
    delay = np.arange(1, 65)
    capacity = np.where(delay <= 8, 0.5, np.where(delay % 2 == 0, 0.1, -0.1))
    frame = pd.DataFrame({"degree": 1, "delay": delay, "capacity": capacity, "raw": capacity})
    frame = frame.assign(bound=64, scale=1.0)
    return of_seeds([pd.concat([frame.assign(stage=s) for s in ("initial", "trained")])] * 3)


def decoded() -> pd.DataFrame:
    """At the evidence the read-out is barely above its control, by less than noise."""
    frame = pd.DataFrame({"distance": [0, 1, 2, 4], "skill": [0.03, 0.02, 0.02, 0.0]})
    return of_seeds([frame.assign(control=0.0)] * 3)


def contexts() -> pd.DataFrame:
    """The skill is above zero, and less than what counts as skill."""
    frame = pd.DataFrame({"context": [1, 8, 64], "skill": [0.0, 0.02, 0.04]})
    return of_seeds([frame] * 3)


def timescales() -> pd.DataFrame:
    """One seed has slow units: over the units of all seeds together they are the slow tenth."""
    frames = [
        pd.DataFrame({"unit": range(10), "timescale": scale * np.linspace(0.5, 1, 10)})
        for scale in (10.0, 10.0, 1000.0)
    ]
    rest = {"gate": "forget", "layer": 0, "aimed": math.nan}
    return of_seeds(frames).assign(**rest, left_saturated=0.1, right_saturated=0.4)


def under_noise() -> pd.DataFrame:
    """The skill of one seed falls at once, and that of the others late: the mean is halved at 0.26.

    Each seed has as many answers. The median of the σ of each seed would be 0.32.
    """
    skills = {0.0: (0.9, 0.9, 0.9), 0.2: (0.0, 0.9, 0.9), 0.4: (0.0, 0.15, 0.15)}
    frames = [
        pd.DataFrame(
            {"sigma": sigma, "sequence": range(20), "lag": 5, "skill": skill, "seed": seed}
        )
        for sigma, of_seed in skills.items()
        for seed, skill in enumerate(of_seed)
    ]
    return pd.concat(frames, ignore_index=True)


MEASURED = {
    "recall_by_lag": lambda: of_seeds([recall(half) for half in (2.0, 9.0, 40.0)]),
    "gradient_flow": gradients,
    "lyapunov": exponents,
    "memory_capacity": capacities,
    "state_decoding": decoded,
    "effective_context": contexts,
    "gate_timescales": timescales,
    "state_noise": under_noise,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    plan = write_study(tmp_path_factory.mktemp("one"), tasks=(TASK,), probes=CONFIGS, explainers={})
    folder = plan.parents[2] / "quick"
    for cell, expected in read_json(plan)["cells"].items():
        for probe, measure in MEASURED.items():
            path = folder / cell / "probe" / f"{probe}.parquet"
            write_parquet(path, measure(), expected["probe"][probe])
    return make(plan)


@pytest.fixture(scope="module")
def card(study: Made) -> pd.Series:
    """The row of one cell of the memory card."""
    frame = read_parquet(study.page.parents[1] / "summary" / "memory_card.parquet")
    return frame.set_index(["task", "model"]).loc[TASK, MODEL]


# The value as the probe's sentence says it, for one model; ‹› where the value stands.
SENTENCES = {
    "horizon": r"Memory horizon in steps.*?\blstm ([^(,]+?) \(",
    "jacobian_rate": r"whole state halves every (\S+) steps in \w+",
    "lyapunov": r"the state halves within (\S+) steps in \w+",
    "capacity": r"Linear memory capacity.*?\blstm (\S+) of at most",
    "decoding": r"after this number of steps: .*?\blstm ([^,.]+)",
    "context": r"\(–: no skill\): .*?\blstm ([^,.]+)",
    "noise_tolerance": r"halves the skill has the σ: .*?\blstm ([^,]+?)[,.] ",
    "timescale": r"Time constants in steps.*?\blstm \S+ and ([^,.]+)",
}


def sentence(study: Made, name: str) -> str:
    """What the report's sentences say of a quantity."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", study.text))
    return re.search(SENTENCES[name], text)[1]


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_says_what_the_card_says(study: Made, card: pd.Series, name: str):
    quantity = BY_NAME[name]
    value = card[name]
    if name == "jacobian_rate":
        expected = steps(half_distance(value))
    elif name == "lyapunov":
        expected = steps(math.log(2) / abs(value))
    elif name == "capacity":
        expected = number(value)
    else:
        expected = value_of(quantity, card.to_dict()).partition("<small>")[0]
    assert sentence(study, name) == expected


def test_the_reports_table_shows_the_card(study: Made, card: pd.Series):
    head, *rows = study.table("memory horizon (steps)")
    cells = dict(zip(head, next(row for row in rows if row[1] == MODEL), strict=True))
    for quantity in QUANTITIES:
        title = f"{quantity.label} ({quantity.unit})"
        if title in cells:
            expected = value_of(quantity, card.to_dict())
            assert cells[title] == expected.replace("<small>", " | ").replace("</small>", "")
    assert sum(f"{it.label} ({it.unit})" in cells for it in QUANTITIES) >= 9


def test_mlflow_gets_the_card(study: Made, card: pd.Series, monkeypatch):
    folder = study.page.parents[1]
    cells = cells_of(read_json(study.plan), StudyPaths(folder))
    cell = next(cell for cell in cells if cell.model == MODEL)
    points = {point.name: point.value for point in summary_points(folder / "summary", cell)}
    for quantity in QUANTITIES:
        for name in quantity.columns:
            logged = points.get(f"memory/{name}")
            if quantity.is_tracked and np.isfinite(card[name]):
                assert logged == card[name]
            else:
                assert logged is None
    assert sum(name.startswith("memory/") for name in points) >= 8


def test_the_other_formulas_would_give_other_values(card: pd.Series):
    """Else the frames above could not tell two formulas apart."""
    clipped = capacities().query("stage == 'trained'")["capacity"].clip(lower=0).sum() / 3
    assert abs(clipped - card["capacity"]) > 1
    pooled = timescales()["timescale"].quantile(0.9, interpolation="nearest")
    assert pooled > 2 * card["timescale"]
    assert card["decoding"] == 0  # half of a selectivity below noise would reach to 2
    assert math.isnan(card["context"])  # any skill above zero would give 64
    mean_curve = -np.mean([0.02, 0.1, 0.2])
    assert card["jacobian_rate"] == pytest.approx(mean_curve)
    assert card["half_distance_trained"] != pytest.approx(
        np.exp(np.mean(np.log(math.log(2) / np.array([0.02, 0.1, 0.2]))))
    )


def test_every_probe_on_the_card_has_a_figure_that_says_its_number():
    assert {BY_NAME[name].probe for name in SENTENCES} == PROBES
    assert all(hasattr(figure_module(probe), "finding") for probe in PROBES)
