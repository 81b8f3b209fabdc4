import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lookback.report import report
from lookback.report.inputs import read
from lookback.report.result_tables import draw_of_the_data
from lookback.report.trust_table import trust_tables
from lookback.report.verdicts import answers
from lookback.storage.atomic import read_json, write_json
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise.explainer_scores import WITHOUT_SKILL
from lookback.summarise.summarise import beats_baseline
from tests.fake_study import MODELS, TASKS, lose_seed, write_study

from .conftest import RUN, TOKEN, Made, Reader, make


def test_the_page_loads_nothing(whole: Made):
    reader = Reader()
    reader.feed(whole.text)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in reader.tags}
    loaded = [
        value
        for tag, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "xlink:href", "data") and tag != "a"
    ]
    assert loaded
    assert all(value.startswith(("#", "data:")) for value in loaded)
    assert "@import" not in whole.text
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", whole.text))


def test_the_page_is_under_two_megabytes(whole: Made):
    assert whole.page.stat().st_size < 2_000_000


def test_figures_beyond_the_page_s_room_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lookback.report.page.INLINE", 10_000)
    made = make(write_study(tmp_path, tasks=("adding",)))
    assert "<svg" not in made.text
    for path in (made.page.parent / "figures").glob("*.svg"):
        assert f'href="figures/{path.name}"' in made.text


def test_every_id_stands_once_and_every_reference_finds_one(whole: Made):
    reader = Reader()
    reader.feed(whole.text)
    ids = Counter(attributes["id"] for _, attributes in reader.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', whole.text))
    assert {one or other for one, other in targets} - {"probes"} <= set(ids)


def is_rounded(shown: str, full: float) -> bool:
    """Whether `shown` is `full`, right to half of its last digit."""
    mantissa, _, power = shown.replace(",", "").partition("e")
    digits = len(mantissa.partition(".")[2]) - int(power or 0)
    return abs(float(shown.replace(",", "")) - full) <= 0.5000001 * 10.0**-digits


def test_other_scores_are_folded_and_the_accuracy_of_each_class_is_in_the_csv(tmp_path: Path):
    plan = write_study(tmp_path, tasks=("digits_rows",))
    path = plan.parents[2] / "quick" / "digits_rows" / "gru" / "metrics.json"
    metrics = read_json(path)
    for seed, score in zip(metrics["seeds"], (0.5, 0.25, 0.75), strict=True):
        metrics["seeds"][seed] |= {"test/macro_f1": score, "test/class_3/accuracy": 1 - score}
    write_json(path, metrics)
    made = make(plan)
    assert made.table("macro F1") == [["model", "macro F1"], ["gru", "0.500 | -0.121 to 1.12"]]
    assert "<details><summary>Other scores on digits_rows</summary>" in made.text
    assert "class_3" not in made.text
    assert "tables/metrics_digits_rows.csv" in made.text
    full = made.csv("metrics_digits_rows").set_index(["model", "metric"])
    assert full.loc[("gru", "class_3/accuracy"), "mean"] == 0.5
    assert made.tables[0][0][1] == "accuracy (test)"  # the task's metric stays first


def test_a_study_without_other_scores_has_no_table_of_them(whole: Made):
    assert "Other scores" not in whole.text


@pytest.mark.parametrize("task", TASKS)
def test_every_number_of_a_results_table_is_that_of_the_csv_rounded(whole: Made, task: str):
    shown = whole.table(f"{TASKS[task]} (test)", 0 if task != "digits_rows" else 1)
    full = whole.csv(f"results_{task}")
    assert len(shown) - 1 == len(full)
    for cells, row in zip(shown[1:], full.to_dict("records"), strict=True):
        assert cells[0].removesuffix(" ★") == row["model"]
        assert is_rounded(cells[1], row["mean"])
        if row["row"] == "model":
            low, high = cells[2].split(" to ")
            assert is_rounded(low, row["low"])
            assert is_rounded(high, row["high"])
            assert is_rounded(cells[4], row["parameters"])
            assert is_rounded(cells[5], row["hidden_size"])
            assert is_rounded(cells[6], row["train_seconds"])


def test_a_wrong_digit_would_be_seen():
    assert is_rounded("0.0031", 0.003149)
    assert not is_rounded("0.0031", 0.003151)
    assert not is_rounded("5.30e-05", 5.306e-05)


def test_every_score_is_that_of_the_csv_rounded(whole: Made):
    shown = whole.table("integrated gradients", 1)
    full = whole.csv("scores_evidence_auc_adding").set_index(["model", "explainer"])
    for cells in shown[1:]:
        model = cells[0]
        if cells[1] == WITHOUT_SKILL:
            continue
        value, spread, chance = cells[shown[0].index("occlusion")].split(" | ")
        row = full.loc[model, "occlusion"]
        assert is_rounded(value, row["mean"])
        assert all(map(is_rounded, spread.split(" to "), (row["low"], row["high"])))
        assert is_rounded(chance.removeprefix("random "), row["chance"])


def test_a_winner_is_marked_only_where_the_intervals_allow_it(whole: Made):
    marked = {
        (table[0][1], row[0]) for table in whole.tables for row in table if row[0].endswith("★")
    }
    assert marked == {("mse (test)", "gru ★")}  # on digits_pixels the lstm's seeds differ widely
    assert "adding: gru is best" in whole.text
    assert "digits_rows: no clear winner" in whole.text
    assert "the best mean, but not clearly better than gru" in whole.text


def test_no_model_is_best_where_none_beats_the_trivial_answer(whole: Made):
    material = read(whole.plan, whole.page.parents[1] / "summary")
    trivial = material.results["baseline"]
    worse = (trivial * 1.01).where(material.results["better"] == "lower", trivial * 0.99)
    low, high = worse * 0.999, worse * 1.001
    rows = material.results.assign(mean=worse, low=low, high=high)
    at_baseline = rows.assign(skilled=[beats_baseline(row) for row in rows.to_dict("records")])
    verdicts = {it.task: it.verdict for it in answers(replace(material, results=at_baseline))}
    assert set(verdicts.values()) == {"not learned"}


def test_models_at_the_trivial_baseline_are_named_and_their_explanations_not_praised(whole: Made):
    baseline = "the trivial baseline (mean of the targets: 0.167)"
    assert f"The score is not better than {baseline} for attention, rnn, transformer." in whole.text
    best = "occlusion for gru (0.940), lstm (0.940)."
    assert f"Best explainer by evidence_auc: {best}" in whole.text
    assert "by deletion: none clearly for gru, lstm." in whole.text
    assert "above chance" not in whole.text
    weak = [row for row in whole.table("integrated gradients", 1) if row[0] == "rnn"]
    assert weak == [["rnn", WITHOUT_SKILL]]


def test_a_task_on_which_a_control_finds_the_evidence_cannot_tell_explainers_apart(whole: Made):
    near = "magnitude scores 0.950 and occlusion 0.940 for gru"
    assert f"By evidence_auc, this task cannot tell explainers apart: {near}" in whole.text
    assert "By deletion, this task cannot tell explainers apart" in whole.text  # of `adding` alone
    assert whole.text.count("cannot tell explainers apart") == 2
    table = whole.csv("controls_adding").set_index(["model", "score"])
    assert table.loc[("gru", "evidence_auc"), "near"] == "magnitude"
    assert table.loc[("gru", "evidence_auc"), "explainer"] == "occlusion"


def test_a_trust_horizon_says_where_only_a_bound_is_known(whole: Made):
    material = read(whole.plan, whole.page.parents[1] / "summary")
    remembers = {"memory": 40.0, "memory_low": 30.0, "memory_high": 50.0, "memory_censored": True}
    remembers |= {"task": "adding", "model": "gru", "memory_below": False}
    sees = {"explainer": "occlusion", "trust": 12.0, "trust_low": 9.0, "trust_high": 15.0}
    blind = {"explainer": "attention", "trust": 1.0, "trust_low": 1.0, "trust_high": 1.0}
    rows = [
        remembers | sees | {"trust_censored": False, "trust_below": False},
        remembers | blind | {"trust_censored": False, "trust_below": True},
    ]
    memory = {**material.memory, "trust_horizon": pd.DataFrame(rows)}
    (table,) = trust_tables(replace(material, memory=memory))
    assert table.head == ["model", "memory", "occlusion", "attention"]
    (row,) = table.rows
    own = ["≥ 40<small>30 to 50</small>", "12<small>9 to 15</small>", "< 1"]
    assert row.cells == ["gru", *own]


def test_published_figures_and_chance_stand_beside_the_results(whole: Made):
    rows = whole.table("accuracy (test)", 1)
    assert ["lstm, published", "0.9813", "Keras"] in rows
    assert ["chance", "0.1000", "a class at random"] in rows


def test_each_baseline_has_a_row_and_the_strongest_comes_first(whole: Made):
    rows = whole.table("mse (test)")
    strongest = ["trivial baseline", "0.167", "mean of the targets; a value has no chance level"]
    assert rows[rows.index(strongest) + 1] == ["weaker baseline", "1.17", "always 0"]


def test_the_theoretical_optimum_stands_beside_the_results_of_a_task_that_knows_it(whole: Made):
    known, unknown = whole.table("mse (test)"), whole.table("accuracy (test)", 1)
    assert ["theoretical optimum", "0.00", "every answer right"] in known
    assert not [row for row in unknown if row[0] == "theoretical optimum"]


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({"seed": 0}, ["intervals leave out the draw of the data"]),
        ({}, ["intervals leave out the draw of the data"]),
        ({"seed": "per_run"}, ["intervals include the draw of the data"]),
        (
            {"seed": "per_run", "fresh": True},
            ["Train sequences are never repeated", "intervals include the draw of the data"],
        ),
    ],
)
def test_the_note_says_whether_the_intervals_include_the_draw_of_the_data(
    whole: Made, settings, notes
):
    material = read(whole.plan, whole.page.parents[1] / "summary")
    study = {**material.study, "tasks": {"adding": settings}}
    said = list(draw_of_the_data(replace(material, document={"study": study}), "adding"))
    assert all(note in sentence for note, sentence in zip(notes, said, strict=True))
    one_seed = replace(material, document={"study": study | {"seeds": [0]}})
    assert len(list(draw_of_the_data(one_seed, "adding"))) == len(notes) - 1


def test_every_table_says_that_parameters_are_not_matched(whole: Made):
    scores = len(TASKS) + 1  # deletion on each, and evidence_auc on the adding problem
    card, controls = 1, len(TASKS)
    assert whole.text.count("does not match them") == len(TASKS) + scores + card + controls


def test_runs_of_todays_plans_are_linked_and_older_ones_are_not(whole: Made):
    address = f"http://127.0.0.1:5000/#/experiments/3/runs/{RUN}"
    assert whole.text.count(f'href="{address}"') == len(TASKS) * len(MODELS)
    assert "older.db" not in whole.text


def test_the_token_of_a_server_is_on_no_page_and_in_no_link(whole: Made):
    assert "http://…@127.0.0.1:5000" in whole.text
    files = [path for path in whole.page.parent.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_the_same_files_give_the_same_bytes(whole: Made):
    folder = whole.page.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "figures" / "stale.svg").touch()
    report.main(whole.plan, folder.parent / "summary", whole.page)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_every_figure_is_also_a_whole_file(whole: Made):
    names = {path.stem for path in (whole.page.parent / "figures").glob("*.svg")}
    kinds = {f"{kind}_{task}" for kind in ("results", "curves", "gradient_flow") for task in TASKS}
    assert names == kinds | {f"explanations_{task}_{place}" for task in TASKS for place in range(3)}
    for path in (whole.page.parent / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_a_hole_is_named_with_its_reason(torn: Made):
    assert "The study is incomplete:" in torn.text
    row = next(row for row in torn.table("why") if row[0] == "train")
    assert row == [
        "train",
        "not there; its log ends: lookback: the <data> are gone.",
        "adding × lstm",
    ]
    assert ["lstm", "missing: " + row[1]] in torn.table("mse (test)")
    assert set(torn.csv("missing")["model"]) == {"lstm"}
    assert "gru is best (1 of 5 models missing)" in torn.text


def test_a_mean_over_the_seeds_that_did_not_diverge_says_so_wherever_it_stands(tmp_path: Path):
    plan = write_study(tmp_path, tasks=("adding",))
    lose_seed(tmp_path / "results/quick/adding/gru", 1, "the loss became nan at step 340")
    made = make(plan)
    shown = {row[0]: row for row in made.table("mse (test)")}
    assert (shown["gru"][3], shown["lstm"][3]) == ("2 of 3", "3")
    said = "gru: 2 of 3 seeds; seed 1 diverged: the loss became nan at step 340."
    assert made.text.count(said) == 2  # with the answer, and below the table
    assert "adding: no clear winner" in made.text
    assert "the best mean, but only 2 of 3 seeds were trained." in made.text
    hole = ["train seed 1", "diverged: the loss became nan at step 340", "adding × gru"]
    assert hole in made.table("why")


def test_an_overridden_study_says_so(torn: Made, whole: Made):
    assert "The study is overridden" in torn.text
    assert "Note: recipe.initialisation.unit=layer has no effect on rnn." in torn.text
    assert "trainer.max_steps=7" in torn.text
    assert "The study is overridden" not in whole.text


def test_a_probe_without_a_figure_is_shown_as_means(torn: Made):
    means = torn.csv("probe_elsewhere")
    assert means["span"].to_list() == pytest.approx([20.5] * 5)
    assert ["adding", "gru", "20.5"] in torn.table("span")


def test_without_validation_the_training_loss_is_drawn(torn: Made, whole: Made):
    def axis(made: Made) -> str:
        return (made.page.parent / "figures" / "curves_adding.svg").read_text(encoding="utf-8")

    assert "train loss" in axis(torn)
    assert "validation mse" in axis(whole)


def test_one_point_of_validation_is_no_curve_so_the_training_loss_is_drawn(tmp_path: Path):
    plan = write_study(tmp_path, tasks=("adding",))
    folder = plan.parents[2] / "quick" / "adding"
    for cell, expected in read_json(plan)["cells"].items():
        path = folder / cell.partition("/")[2] / "history.parquet"
        history = read_parquet(path)
        early = (history["split"] == "validation") & (history["step"] < history["step"].max())
        write_parquet(path, history[~early], expected["train"])
    page = make(plan).page
    assert "train loss" in (page.parent / "figures" / "curves_adding.svg").read_text("utf-8")


def test_one_seed_has_no_interval_and_no_winner(tmp_path: Path):
    made = make(write_study(tmp_path, tasks=("adding",), seeds=(1,)))
    rows = made.table("mse (test)")
    assert {row[2] for row in rows[1:6]} == {"–"}
    assert "★" not in made.text
    assert "but one seed has no interval" in made.text


def test_of_five_seeds_the_interquartile_mean_is_shown_with_its_interval(tmp_path: Path):
    made = make(write_study(tmp_path, tasks=("digits_rows",), seeds=tuple(range(5))))
    place = made.table("seeds")[0].index("interquartile mean")
    full = made.csv("results_digits_rows").set_index("model").loc["gru"]
    shown = next(row for row in made.table("seeds") if row[0].startswith("gru"))[place]
    # Seeds 0.97, 0.9725, 0.965, 0.97, 0.9725, the least and the greatest left out.
    assert shown == f"0.9708 | {full['iqm_low']:.4f} to {full['iqm_high']:.4f}"
    assert "interquartile mean" not in make(write_study(tmp_path / "three")).text.lower()


def test_a_study_of_which_nothing_is_there_still_has_a_report(tmp_path: Path):
    plan = write_study(tmp_path)
    shutil.rmtree(tmp_path / "results" / "quick")
    made = make(plan)
    assert "adding: no result (5 of 5 models missing)" in made.text
    assert [
        "train",
        "not there",
        "; ".join(f"{task} × every model" for task in sorted(TASKS)),
    ] in made.table("why")
    assert (
        len(made.csv("missing")) == len(TASKS) * len(MODELS) * 6
    )  # prepare, train, probe, explain
    assert "<svg" not in made.text


def test_the_cells_table_names_every_plan(whole: Made):
    plans = whole.csv("plans")
    assert isinstance(plans, pd.DataFrame)
    assert len(plans) == len(TASKS) * len(MODELS) * (2 + 1 + 3)
    assert all(plan in whole.text for plan in plans["plan"])


def test_a_study_of_gradients_alone_has_a_card_of_them_and_no_word_on_the_theory(whole: Made):
    titles = ("trained", "before training")
    gradient = [f"gradient half-distance, {title} (steps)" for title in titles]
    assert whole.table(gradient[0])[0] == [
        *("task", "model", *gradient, "backward rate (nats per step)", "skill (share)"),
        *("parameters", "seeds", "train s"),
    ]
    assert "predict the memory horizon" not in whole.text
    assert not (whole.page.parent / "tables" / "theory.csv").exists()


def test_the_star_says_among_how_many_comparisons_it_stands(whole: Made):
    assert "corrected for 4 rivals, but not for the 3 tasks of the study" in whole.text
