import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lookback.storage.atomic import read_json, write_json
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import contents_note
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise import summarise
from lookback.summarise.explainer_scores import WITHOUT_SKILL
from lookback.summarise.memory_card import CARD
from tests.fake_study import MODELS, VALUES, lose_seed, write_study

COLUMNS = {
    "results": "task model metric better mean low high iqm iqm_low iqm_high seeds parameters "
    "hidden_size baseline baseline_name other_baselines chance optimum best close skilled reason",
    "runs": "task model seed metric value",
    "metrics": "task model metric mean low high seeds",
    "history": "task model seed step split metric value",
    "scores": "task model explainer score mean low high best chance position magnitude untrained "
    "oracle share gap wide seeds reason",
    "controls": "task model score explainer value chance position magnitude untrained oracle share "
    "near oracle_is_best",
    "cost": "task model seed train_seconds evaluate_seconds device threads commit dirty versions",
    "tuning": "task model trial values metric score parameters steps seeds pruned chosen reason",
    "missing": "task model what reason",
    "memory_card": " ".join(CARD),
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A study of one task with all its results."""
    return write_study(tmp_path, tasks=("adding",))


def summary(plan: Path) -> dict[str, pd.DataFrame]:
    """The tables of the study of a plan, by name."""
    out = plan.parents[2] / "quick" / "summary"
    summarise.main(plan, out)
    return {path.stem: read_parquet(path) for path in out.glob("*.parquet")}


def cell(plan: Path, model: str) -> Path:
    return plan.parents[2] / "quick" / "adding" / model


def reasons(tables: dict[str, pd.DataFrame], model: str) -> dict[str, str]:
    """Why what is missing of a model is missing."""
    own = tables["missing"][tables["missing"]["model"] == model]
    return dict(zip(own["what"], own["reason"], strict=True))


def test_the_mean_is_over_the_seeds_and_the_best_is_clear_of_all(plan: Path):
    results = summary(plan)["results"].set_index("model")
    for model, values in VALUES["adding"].items():
        assert results.loc[model, "mean"] == pytest.approx(np.mean(values))
        error = stats.sem(values) / np.mean(values)  # of ln m
        bounds = np.log(results.loc[model, ["low", "high"]].to_list())
        reach = stats.t.ppf(0.975, 2) * error
        assert bounds == pytest.approx(np.log(np.mean(values)) + np.array([-reach, reach]))
    assert list(results.index[results["best"]]) == ["gru"]
    assert set(results["baseline"]) == {1 / 6}
    assert set(results["other_baselines"]) == {'{"always 0": 1.1667}'}
    assert set(results["optimum"]) == {0.0}


def test_other_scores_have_a_mean_and_an_interval_over_seeds(plan: Path):
    path = cell(plan, "gru") / "metrics.json"
    metrics, scores = read_json(path), (0.5, 0.25, 0.75)
    for seed, score in zip(metrics["seeds"], scores, strict=True):
        metrics["seeds"][seed] |= {"test/mae": score, "test/loss": 1.0, "validation/mse": 2.0}
    write_json(path, metrics)
    table = summary(plan)["metrics"].set_index(["model", "metric"])
    assert set(table.loc["gru"].index) == {"mse", "mae"}
    reach = stats.t.ppf(0.975, 2) * stats.sem(scores)
    expected = [0.5, 0.5 - reach, 0.5 + reach, 3]
    assert table.loc[("gru", "mae")].drop("task").to_list() == pytest.approx(expected)
    assert set(table.loc["lstm"].index) == {"mse"}


def test_an_interval_is_over_test_sequences_too(tmp_path: Path):
    """Of seeds that give the same answers, only the spread of a mean over sequences is left."""
    share, answers = 0.75, 400
    plan = write_study(tmp_path, ("digits_rows",))
    own = plan.parents[2] / "quick" / "digits_rows" / "gru" / "predictions.parquet"
    frame = read_parquet(own)
    alike = frame["sequence"] < share * answers
    write_parquet(own, frame.assign(prediction=np.where(alike, 3, 5)), plans_of(own))
    row = summary(plan)["results"].set_index("model").loc["gru"]
    spread = 1.96 * np.sqrt(share * (1 - share) / answers)
    assert [row["low"], row["high"]] == pytest.approx([share - spread, share + spread], abs=0.006)


def test_the_interquartile_mean_leaves_out_the_worst_and_the_best_of_five_seeds(
    tmp_path: Path, monkeypatch
):
    values = (0.25, 0.75, 0.5, 1.0, 0.5)
    for model in MODELS:
        monkeypatch.setitem(VALUES["digits_rows"], model, values)
    plan = write_study(tmp_path, ("digits_rows",), tuple(range(5)))
    row = summary(plan)["results"].set_index("model").loc["gru"]
    assert row["mean"] == pytest.approx(0.6)
    assert row["iqm"] == pytest.approx((0.5 + 0.5 + 0.75) / 3)
    assert row["iqm_low"] < row["iqm"] < row["iqm_high"]


def test_a_complete_study_misses_only_what_does_not_apply(plan: Path):
    missing = summary(plan)["missing"]
    assert set(missing["what"]) == {"explain attention"}
    assert set(missing["model"]) == {"rnn", "lstm", "gru"}
    assert all(missing["reason"].str.startswith("does not apply: "))


def test_a_result_of_an_older_plan_counts_as_missing(plan: Path):
    path = cell(plan, "gru") / "metrics.json"
    metrics = read_json(path)
    write_json(path, {**metrics, "plans": {**metrics["plans"], "train": "0" * 16}})
    tables = summary(plan)
    assert reasons(tables, "gru")["train"] == "of an older plan"
    row = tables["results"].set_index("model").loc["gru"]
    assert np.isnan(row["mean"])
    assert not row["best"]
    assert "gru" not in set(tables["history"]["model"]) | set(tables["runs"]["model"])


def test_a_probe_of_an_older_plan_counts_as_missing(plan: Path):
    folder = cell(plan, "gru") / "probe"
    shutil.copy(cell(plan, "lstm") / "probe" / "gradient_flow.parquet", folder)
    tables = summary(plan)
    assert reasons(tables, "gru")["probe gradient_flow"] == "of an older plan"
    assert "gru" not in set(tables["probe_gradient_flow"]["model"])


def test_a_cell_that_failed_says_what_its_log_said_last(plan: Path):
    (cell(plan, "gru") / "metrics.json").unlink()
    log = cell(plan, "gru") / "log" / "train.log"
    log.parent.mkdir()
    log.write_text("step 1\nlookback: no such thing.\n          Did you mean 'that'?\nnoise\n")
    expected = "not there; its log ends: lookback: no such thing. Did you mean 'that'?"
    tables = summary(plan)
    assert reasons(tables, "gru")["train"] == expected
    assert tables["results"].set_index("model").loc["gru", "reason"] == expected
    log.write_text("Traceback\n  File\nValueError: too large\n\n")
    assert reasons(summary(plan), "gru")["train"].endswith("ValueError: too large")


def test_what_follows_a_missing_model_says_so(plan: Path):
    shutil.rmtree(cell(plan, "gru"))
    found = reasons(summary(plan), "gru")
    assert found.pop("train") == "not there"
    assert set(found) == {
        "probe gradient_flow",
        "explain integrated_gradients",
        "explain occlusion",
        "explain attention",
    }
    assert set(found.values()) == {"its model is missing"}


def test_a_seed_that_is_asked_for_and_not_there_is_missing_and_one_not_asked_for_is_left_out(
    plan: Path,
):
    document = read_json(plan)
    document["study"]["seeds"] = [0, 1, 7]
    write_json(plan, document)
    tables = summary(plan)
    assert reasons(tables, "gru")["train seed 7"] == "not there"
    assert set(tables["runs"]["seed"]) == {0, 1}
    results = tables["results"].set_index("model")
    assert results.loc["gru", "mean"] == pytest.approx(np.mean(VALUES["adding"]["gru"][:2]))
    assert results.loc["gru", "seeds"] == 2


def test_a_seed_that_diverged_is_named_and_its_model_is_called_best_no_more(plan: Path):
    lose_seed(cell(plan, "gru"), 1, "the loss became nan at step 340")
    tables = summary(plan)
    results = tables["results"].set_index("model")
    kept = [VALUES["adding"]["gru"][seed] for seed in (0, 2)]
    assert results.loc["gru", "mean"] == pytest.approx(np.mean(kept))
    assert results.loc["gru", "seeds"] == 2
    assert not results["best"].any()
    found = reasons(tables, "gru")
    assert found["train seed 1"] == "diverged: the loss became nan at step 340"
    assert found["probe gradient_flow"] == found["explain occlusion"] == "seed 1 diverged"


def test_scores_stand_with_their_chance_or_with_the_reason_why_not(plan: Path):
    scores = summary(plan)["scores"].set_index(["model", "explainer", "score"])
    found = scores.loc["gru", "occlusion", "evidence_auc"]
    assert found["mean"] == pytest.approx(0.94)
    reach = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((0.94 - reach, 0.94 + reach))
    assert found["best"]
    assert (found["chance"], found["seeds"]) == (0.5, 3)
    assert scores.loc["gru", "attention", ""]["reason"].startswith("does not apply: gru has no")


def test_a_model_without_skill_has_no_scores(plan: Path):
    scores = summary(plan)["scores"]
    unskilled = scores[scores["model"] == "rnn"]
    assert unskilled["mean"].isna().all()
    explained = unskilled[unskilled["explainer"] != "attention"]
    assert set(explained["reason"]) == {WITHOUT_SKILL}
    assert scores.loc[scores["model"] == "gru", "mean"].notna().any()
    assert set(summary(plan)["controls"]["model"]) == {"lstm", "gru"}


def test_scores_without_their_attributions_are_missing(plan: Path):
    (cell(plan, "gru") / "explain" / "occlusion.npz").unlink()
    tables = summary(plan)
    assert reasons(tables, "gru")["explain occlusion"] == "not there"
    scores = tables["scores"].set_index(["model", "explainer"])
    assert np.isnan(scores.loc[("gru", "occlusion"), "mean"]).all()


def test_an_empty_study_has_every_table_with_its_columns(plan: Path):
    shutil.rmtree(plan.parents[2] / "quick")
    tables = summary(plan)
    assert set(tables) == {*COLUMNS, "probe_gradient_flow"}
    for name, columns in COLUMNS.items():
        assert list(tables[name]) == columns.split()
    assert len(tables["results"]) == 5
    assert set(tables["results"]["reason"]) == {"not there"}


def test_all_tables_but_the_cost_are_the_same_bytes_whatever_the_times(plan: Path):
    folder = plan.parents[2] / "quick" / "summary"
    summary(plan)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    path = cell(plan, "gru") / "cost.json"
    cost = read_json(path)
    cost["seeds"]["0"]["train_seconds"] = 99.0
    write_json(path, cost)
    summary(plan)
    changed = {path.name for path in folder.glob("*") if path.read_bytes() != before[path.name]}
    assert changed == {"cost.parquet", contents_note(folder).name}  # the note has its digest


def test_the_memory_card_is_made_of_what_the_study_s_probes_measured(plan: Path):
    card = summary(plan)["memory_card"].set_index("model")
    assert card.loc["gru", "half_distance_trained"] == pytest.approx(np.log(2) / 0.04)
    assert card.loc["gru", "half_distance_initial"] == pytest.approx(np.log(2) / 0.08)
    assert card.loc["gru", "skill"] == pytest.approx(1 - 6 * np.mean(VALUES["adding"]["gru"]))
    assert card["horizon"].isna().all()


def test_a_study_without_a_probe_of_memory_has_no_memory_card(tmp_path: Path):
    plan = write_study(tmp_path, tasks=("adding",), probes={})
    assert not {"memory_card", "theory", "failing_lag"} & set(summary(plan))


def test_the_table_of_a_probe_that_left_the_study_goes(plan: Path):
    stale = plan.parents[2] / "quick" / "summary" / "probe_old.parquet"
    stale.parent.mkdir()
    stale.touch()
    summary(plan)
    assert not stale.exists()
