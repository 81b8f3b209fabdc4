"""`lookback init` and `lookback predict`: a study of one's own table, and answers for a new one."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lookback import cli
from lookback.commands import init_study
from lookback.data.table import Table
from lookback.planning.study import compose_study
from lookback.training.run import load_runs
from tests.cells import GRU, write_cell
from tests.conftest import ROOT
from tests.data.test_table import walks


@pytest.fixture
def project(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder as the working directory, with the table walks.csv."""
    shutil.copytree(ROOT / "conf", in_tmp / "conf")
    monkeypatch.setattr(init_study, "PROJECT", in_tmp)
    walks().to_csv("walks.csv", index=False)
    return in_tmp


def init(*words: str) -> int:
    return cli.main(["init", "mine", *words])


def settings(project: Path) -> dict:
    """The settings of the task as planning composes them."""
    study = compose_study(project / "conf", "mine")
    assert {task for task, _ in study.cells} == {"mine"}
    return dict(study.cells["mine", "gru"].task)


def by_day(days: int = 100) -> pd.DataFrame:
    frame = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=days).strftime("%Y-%m-%d")})
    generator = np.random.default_rng(1)
    frame["price"] = generator.normal(size=days).round(3)
    frame["weather"] = generator.choice(["sun", "rain"], days)
    frame["sold"] = generator.normal(50, 5, days).round(2)
    return frame


WALK = ("--data", "walks.csv", "--time", "t", "--group", "id")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*WALK, "--target", "label"), {"ask": "sequence", "kind": "class", "split": "random"}),
        ((*WALK, "--target", "mood"), {"ask": "step", "kind": "class", "split": "random"}),
        ((*WALK, "--target", "x"), {"ask": "step", "kind": "value", "numbers": ["y"]}),
        (
            (*WALK, "--target", "x", "--horizon", "1", "--window", "1"),
            {"ask": "window", "kind": "value", "numbers": ["x", "y"], "split": "time"},
        ),
    ],
)
def test_a_study_for_each_question(project, words, expected):
    assert init(*words) == 0
    given = settings(project)
    assert {key: given[key] for key in expected} == expected
    given.pop("_target_")
    assert len(Table(**given).dataset("train")) > 0


def test_a_series_without_groups_is_forecast(project, capsys):
    by_day().to_csv("days.csv", index=False)
    assert init("--data", "days.csv", "--target", "sold", "--time", "day") == 0
    given = settings(project)
    assert (given["ask"], given["horizon"], given["split"]) == ("window", 1, "time")
    assert given["numbers"] == ["price", "sold"]
    assert given["categories"] == ["weather"]
    printed = capsys.readouterr().out
    assert "What will sold be 1 step after a window?" in printed
    assert "a step every 1 days" in printed
    assert "weather (rain, sun)" in printed


def test_a_wide_table_is_seen_as_one_sequence_a_row(project, capsys):
    frame = pd.DataFrame(np.arange(150.0).reshape(30, 5), columns=list("abcde"))
    frame.insert(0, "label", [f"kind {row % 3}" for row in range(30)])
    frame.to_csv("wide.csv", index=False)
    assert init("--data", "wide.csv", "--target", "label") == 0
    assert settings(project)["layout"] == "wide"
    assert "3 classes (rows): kind 0 10, kind 1 10, kind 2 10" in capsys.readouterr().out


def test_what_the_table_holds_is_said(project, capsys):
    frame = walks()
    frame.loc[frame.index[3:6], "x"] = np.nan
    frame["note"] = [f"step {row}" for row in range(len(frame))]
    frame["unit"] = "m"
    frame["seen"] = "2026-01-01"
    frame.loc[0, "seen"] = "2026-01-02"
    frame.to_csv("walks.csv", index=False)
    assert init(*WALK, "--target", "label") == 0
    printed = capsys.readouterr().out
    for words in (
        f"{len(frame)} rows, one step a row",
        "30; 3 to 9 steps, unequal",
        "irregular",
        "x 3 values (first in row 5)",
        "note is text with",
        "unit is constant",
        "seen holds dates",
        "splits:     train 18, validation 4, test 8",
    ):
        assert words in printed
    assert settings(project)["missing"] == "mask"
    assert settings(project)["elapsed"] is True


def test_nothing_is_written_over_without_force(project, capsys):
    assert init(*WALK, "--target", "label") == 0
    path = project / "conf/task/mine.yaml"
    path.write_text("# changed\n")
    assert init(*WALK, "--target", "label") == 2
    assert "conf/task/mine.yaml exists" in capsys.readouterr().err
    assert path.read_text() == "# changed\n"
    assert init(*WALK, "--target", "label", "--force") == 0
    assert yaml.safe_load(path.read_text())["target"] == "label"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "walks.csv"), "the following arguments are required: --target"),
        ((*WALK, "--targt", "label"), "Did you mean --target?"),
        ((*WALK, "--target", "lable"), "no column 'lable' (--target). Did you mean 'label'?"),
        ((*WALK, "--target", "label", "--window", "few"), "--window few is no whole number"),
        (("--data", "walk.csv", "--target", "label"), "walk.csv does not exist"),
        (("--data", "conf", "--target", "label"), "conf is a folder"),
        (("--data", "walks.csv", "--target", "label"), "conf/task"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(project, capsys, words, said):
    if said == "conf/task":
        (project / "conf/task/mine.yaml").write_text("# there\n")
    assert init(*words) == 2
    assert said in capsys.readouterr().err
    assert not (project / "conf/study/mine.yaml").exists()


@pytest.fixture
def cell(project: Path) -> Path:
    """A cell of networks for the question which label a walk has."""
    assert init(*WALK, "--target", "label") == 0
    return write_cell(project / "results", settings(project), GRU)


def predict(cell: Path, data: str, *words: str) -> int:
    return cli.main(["predict", str(cell), "--data", data, "--out", "answers.csv", *words])


def test_predictions_are_the_means_over_the_trained_networks(cell, capsys):
    """The table of training, shuffled and without its target, gives the answers of the task."""
    new = walks().sample(frac=1, random_state=4).drop(columns="label")
    new.assign(extra=1).to_csv("new.csv", index=False)
    assert predict(cell, "new.csv") == 0
    assert "not used: extra" in capsys.readouterr().out
    answers = pd.read_csv("answers.csv")
    assert sorted(answers["id"]) == sorted(walks()["id"].unique())
    runs = list(load_runs(cell))
    data = runs[0].dataset("test")
    outputs = [run.model(data.inputs, data.lengths, data.query).softmax(-1) for run in runs]
    expected = torch.stack(outputs).mean(0)[:, 0, 1].detach().numpy()
    found = answers["probability of up"].to_numpy()
    gaps = np.abs(found[:, None] - expected).min(axis=0)
    assert gaps.max() < 1e-6, gaps
    chosen = np.where(answers["probability of up"] > 0.5, "up", "down")
    assert (answers["prediction"] == chosen).all()


def test_a_forecast_reaches_one_step_behind_the_table(project):
    by_day().to_csv("days.csv", index=False)
    assert init("--data", "days.csv", "--target", "sold", "--time", "day", "--window", "4") == 0
    task = settings(project)
    cell = write_cell(project / "results", task, GRU)
    assert predict(cell, "days.csv") == 0
    answers = pd.read_csv("answers.csv")
    assert len(answers) == 97
    assert answers["day"].iloc[-1] == by_day()["day"].iloc[-1]
    run = next(load_runs(cell))
    data = run.dataset("test")
    table = run.facts.table
    assert table is not None
    networks = [each.model(data.inputs, data.lengths, data.query) for each in load_runs(cell)]
    scaled = torch.stack(networks).mean(0).detach()[:, 0, 0].double().numpy()
    expected = scaled * table["target_scale"] + table["target_mean"]
    # The answer that follows the last day has no target, so it is in no split.
    np.testing.assert_allclose(answers["prediction"].iloc[-1 - len(data) : -1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="x"), "no column 'x'"),
        (lambda frame: frame.drop(columns="id"), "no column 'id' (group)"),
        (lambda frame: frame.assign(place="roof"), "the train split has no category 'roof'"),
        (lambda frame: frame.assign(x="high"), "row 2, column 'x': 'high' is no number"),
    ],
)
def test_a_new_table_that_does_not_fit_is_refused(cell, capsys, change, said):
    change(walks()).to_csv("new.csv", index=False)
    assert predict(cell, "new.csv") == 2
    assert said in capsys.readouterr().err
    assert not Path("answers.csv").exists()


def test_a_folder_without_networks_is_refused(project, capsys):
    assert predict(project / "conf", "walks.csv") == 2
    assert "holds no trained networks" in capsys.readouterr().err
