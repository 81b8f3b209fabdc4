"""What the report says of equal conditions: sizes, lengths, and what tuning chose."""

import json
from pathlib import Path

import pytest

from tests.fake_study import MODELS, write_study
from tests.report.conftest import Made, make

TUNE = {"values": {"recipe.optimizer.lr": [0.001, 0.01, 1.0]}, "trials": None, "budget": None}
BUDGETS = {"gru": {"seconds": 60}, "rnn": None}  # all others: 2.5e12 operations


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study that matches, tunes and gives equal compute; of one cell the tuning is missing."""
    trained = {
        f"adding/{model}": {"trainer": {"budget": BUDGETS.get(model, {"flops": 2.5e12})}}
        for model in MODELS
    }
    plan = write_study(
        tmp_path_factory.mktemp("equal"),
        tasks=("adding",),
        matched={"params": 70000, "tolerance": 0.05},
        tune=TUNE,
        trained=trained,
    )
    (plan.parents[2] / "quick/adding/transformer/tune.json").unlink()
    return make(plan)


def test_what_tuning_chose_stands_in_a_table_and_every_trial_in_its_csv(equal: Made):
    head, *rows = equal.table("tuned model")
    assert head == ["tuned model", "trials", "recipe.optimizer.lr", "mse (validation)"]
    assert rows == [[model, "3, 1 diverged", "0.01", "0.250"] for model in sorted(MODELS)[:-1]]
    full = equal.csv("tuning_adding")
    assert len(full) == 3 * len(rows)
    assert [json.loads(it) for it in full[full["chosen"]]["values"]] == [
        {"recipe.optimizer.lr": 0.01}
    ] * len(rows)
    assert set(full[full["score"].isna()]["reason"]) == {"no number"}


def test_a_cell_without_its_tuning_is_named(equal: Made):
    assert ["tune", "not there", "adding × transformer"] in equal.table("why")
    assert ["train", "its tuning is missing", "adding × transformer"] in equal.table("why")


def test_a_matched_study_says_so_and_shows_the_sizes_that_came_out(equal: Made):
    assert "does not match them" not in equal.text
    assert "nearly 70,000 parameters, within 5.0%" in equal.text
    head, *rows = equal.table("hidden size")
    assert {row[head.index("hidden size")] for row in rows if len(row) == len(head)} == {"32"}


def test_a_budget_of_compute_is_said_in_steps(equal: Made):
    said = "2.5e+12 floating-point operations; in steps: attention 1,000, lstm 1,000"
    assert said in equal.text
    assert "another number of steps; in steps: gru 1,000." in equal.text


def test_a_study_that_tunes_nothing_has_no_table_of_it(whole: Made):
    assert not any("tuned model" in table[0] for table in whole.tables)


def test_trials_of_another_plan_do_not_count(tmp_path: Path):
    plan = write_study(tmp_path, tasks=("adding",), tune=TUNE)
    path = plan.parents[2] / "quick/adding/gru/tune.json"
    path.write_text(path.read_text().replace('"tune": "', '"tune": "0'))
    made = make(plan)
    assert ["tune", "of an older plan", "adding × gru"] in made.table("why")
