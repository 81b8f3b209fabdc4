"""Study `memory-quick` as it is shipped, shortened: every probe, the memory card and its report."""

import mlflow
import pytest
import yaml

from lookback.storage.tables import read_parquet
from tests.workflow.projects import Project

SHORTER = (
    "overrides=[study.seeds=2,task.train=320,task.validation=64,task.test=256,"
    "trainer.max_steps=20,model.hidden_size=8]"
)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.at(tmp_path_factory.mktemp("memory") / "project")
    study = project.root / "conf/study/small.yaml"
    study.write_text((project.root / "conf/study/memory-quick.yaml").read_text())
    project.output = project.run(SHORTER)
    return project


def test_every_probe_of_every_cell_has_measured_or_says_why_not(memory):
    study = yaml.safe_load((memory.root / "conf/study/memory-quick.yaml").read_text())
    probes = yaml.safe_load((memory.root / "conf/probes/memory.yaml").read_text())["probes"]
    missing = read_parquet(memory.study / "summary/missing.parquet")
    for task in study["tasks"]:
        for model in study["models"]:
            for probe in probes:
                frame = read_parquet(memory.study / task / model / "probe" / f"{probe}.parquet")
                reasons = missing.query("task == @task and model == @model")
                said = reasons[reasons["what"] == f"probe {probe}"]["reason"]
                assert said.str.startswith("does not apply").all()
                assert len(said) or "reason" not in frame or frame["reason"].isna().any()
    no_attention = missing[missing["what"] == "probe attention_distance"]["model"]
    assert set(no_attention) == {"rnn", "gru"}


def test_the_card_has_a_row_a_cell_and_the_page_and_mlflow_show_it(memory):
    card = read_parquet(memory.study / "summary/memory_card.parquet")
    assert len(card) == 6
    assert card[["horizon", "half_distance_trained", "lyapunov", "capacity"]].notna().all(axis=None)
    # MLflow keeps stores by their URI, so a relative path may name the store of another test.
    mlflow.set_tracking_uri(f"sqlite:///{memory.root}/results/mlflow.db")
    runs = mlflow.search_runs(experiment_names=["small"]).set_index(["tags.task", "tags.model"])
    cells = runs[runs["tags.seed"].isna()]["metrics.memory/lyapunov"]
    exponents = card.set_index(["task", "model"])["lyapunov"]
    assert cells.sort_index().to_list() == exponents.sort_index().to_list()
    page = (memory.study / "report/index.html").read_text()
    assert "Memory card" in page
    assert "predict the memory horizon" in page


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("task.longest_lag=64", "longest_lag: 64"),
        ("task.symbols=1", "symbols: 1"),
    ],
)
def test_a_task_that_cannot_be_is_refused_before_anything_trains(fresh, setting, said):
    (fresh.root / "conf/study/small.yaml").write_text(
        "tasks: [delayed_recall]\nmodels: [gru]\nseeds: 1\noverrides: [task.length=64]\n"
    )
    printed = fresh.run(f"overrides=[{setting}]", status=1)
    assert said in printed
    assert not (fresh.root / "results/.runs").exists()
