"""The real DAG on a small study: from a fresh copy of the project to the report and MLflow."""

import json
import os
import re
import shutil
import signal
import sqlite3
import sys

import pandas as pd
import pytest

from lookback.explain.evidence_scores import NAMES
from lookback.storage.atomic import read_json
from lookback.storage.tables import read_parquet
from tests.documents import examples_in, extending

MODELS = ("rnn", "gru", "attention")


def test_every_file_of_the_design_is_there(finished_once):
    study = finished_once.study
    assert (study / "adding/task.json").exists()
    for model in MODELS:
        cell = study / "adding" / model
        names = [
            "config.yaml",
            "history.parquet",
            "metrics.json",
            "predictions.parquet",
            "cost.json",
        ]
        names += ["checkpoints/seed=0.ckpt", "checkpoints/seed=1.ckpt"]
        names += ["probe/gradient_flow.parquet", "explain/occlusion.npz"]
        names += ["explain/occlusion.scores.parquet", "explain/attention.npz"]
        assert [name for name in names if not (cell / name).exists()] == []
    assert (study / "report/index.html").stat().st_size < 2_000_000
    page = (study / "report/index.html").read_text()
    assert not re.search(r"""(src|href)=["']https?://""", page)


def test_the_end_says_where_the_report_is_and_what_each_stage_cost(finished_once):
    said = finished_once.output
    assert "results/small/report/index.html" in said
    assert "make ui" in said
    costs = re.findall(r"^(\w+) +([\d.]+) +([\d.]+)", said, re.MULTILINE)
    stages = {stage: (float(work), float(rest)) for stage, work, rest in costs}
    assert {"prepare", "train", "probe", "explain", "report", "track", "snakemake"} <= set(stages)
    assert stages["train"][0] > 0
    total = [
        sum(column) for column in zip(*(v for k, v in stages.items() if k != "all"), strict=True)
    ]
    assert stages["all"] == pytest.approx(tuple(total), abs=0.1 * len(stages))


def test_the_report_and_mlflow_agree_to_the_last_digit(finished_once):
    import mlflow

    # MLflow keeps stores by their URI, so a relative path may name the store of another test.
    mlflow.set_tracking_uri(f"sqlite:///{finished_once.root}/results/mlflow.db")
    runs = mlflow.search_runs(experiment_names=["small"])
    parents = runs[runs["tags.seed"].isna()].set_index("tags.model")
    table = pd.read_csv(finished_once.study / "report/tables/results_adding.csv")
    table = table[table["row"] == "model"].set_index("model")
    summary = read_parquet(finished_once.study / "summary/results.parquet").set_index("model")
    for model in MODELS:
        tracked = parents.loc[model, "metrics.test/mse"]
        assert tracked == table.loc[model, "mean"] == summary.loc[model, "mean"]
    seeds = runs[runs["tags.seed"].notna()]
    assert len(seeds) == 2 * len(MODELS)
    for _, run in seeds.iterrows():
        scores = read_json(finished_once.study / "adding" / run["tags.model"] / "metrics.json")[
            "seeds"
        ]
        assert run["metrics.test/mse"] == scores[run["tags.seed"]]["test/mse"]
    page = (finished_once.study / "report/index.html").read_text()
    assert all(run_id[:8] in page for run_id in parents["run_id"])  # each cell's run is named


def test_nothing_is_left_to_do_and_no_step_is_tracked_twice(finished):
    database = finished.root / "results/mlflow.db"
    count = "select count(*) from metrics"
    before = sqlite3.connect(database).execute(count).fetchone()
    assert finished.planned() == set()
    finished.run()
    index = read_json(next((finished.root / "results/.plan/study").glob("*.yaml")))
    finished.environment["MLFLOW_TRACKING_URI"] = "sqlite:///results/mlflow.db"
    finished.lookback("track", f"plan={index['track']['plan']}", "out=again.json")
    assert sqlite3.connect(database).execute(count).fetchone() == before


def test_the_same_study_gives_the_same_bytes_whatever_the_cores(finished_once, fresh):
    fresh.run(cores=1)
    assert fresh.contents() == finished_once.contents()


def test_one_more_seed_trains_that_seed_alone_and_going_back_costs_a_copy(finished):
    before = finished.contents()
    finished.run("overrides=[study.seeds=3]")
    starts = [
        json.loads(line)
        for path in (finished.root / "results/.runs").glob("*/seed=*/journal.jsonl")
        for line in path.read_text().splitlines()
        if '"start"' in line
    ]
    assert len(starts) == 3 * len(MODELS)  # no seed was started twice
    page = (finished.study / "report/index.html").read_text()
    assert "study.seeds=3" in page  # the study is overridden, and says so
    finished.run()
    assert finished.contents() == before


def test_a_model_a_task_a_probe_and_an_explainer_are_one_file_and_one_yaml_each(fresh):
    """They are those of docs/extending.md, so what a reader copies works."""
    page = extending().read_text(encoding="utf-8")
    for path, text in examples_in(page).items():
        (fresh.root / path).write_text(text)
    # A number on the memory card: one import, and one row of the table of quantities.
    line = re.search(r"^from \S+weight_norm import weight_norm$", page, re.MULTILINE)[0]
    row = re.search(r"^    Quantity\(.*?^    \),\n", page, re.MULTILINE | re.DOTALL)[0]
    table = "src/lookback/summarise/quantities/registry.py"
    fresh.edit(table, "QUANTITIES = (\n", f"{line}\nQUANTITIES = (\n{row}")
    fresh.run()
    card = read_parquet(fresh.study / "summary/memory_card.parquet").query("model == 'echo'")
    sizes = read_parquet(fresh.study / "largest/echo/probe/size.parquet")
    trained = sizes.loc[sizes["stage"] == "trained", "squared_norm"]
    assert card.query("task == 'largest'")["weight_norm"].item() == trained.mean()
    cell = fresh.study / "largest" / "echo"
    assert read_parquet(cell / "probe/size.parquet").squared_norm.gt(0).all()
    scores = read_parquet(cell / "explain/magnitude.scores.parquet").score
    assert scores.tolist() == [*NAMES, "deletion"]
    assert (fresh.study / "report/figures/size_largest.svg").exists()
    page = (fresh.study / "report/index.html").read_text()
    assert all(name in page for name in ("echo", "largest", "size", "magnitude"))


def test_a_failed_cell_is_named_in_the_report_and_is_all_that_is_left_to_do(fresh):
    fresh.edit(
        "conf/study/small.yaml",
        "  rnn:\n",
        "  rnn: {overrides: [recipe.optimizer.lr=1e30, recipe.clip=null]}\n",
    )
    said = fresh.run(status=1)
    assert re.search(r"FAILED train adding/rnn: .*loss became", said)
    page = (fresh.study / "report/index.html").read_text()
    assert "loss became" in page
    results = read_parquet(fresh.study / "summary/results.parquet").set_index("model")
    assert results.loc["rnn", "reason"]
    assert results.loc["gru", "seeds"] == 2
    left = fresh.planned()
    assert {job for job in left if job.startswith(("train", "probe", "explain"))} == {
        "train adding/rnn",
        "probe adding/rnn gradient_flow",
        "explain adding/rnn occlusion",
        "explain adding/rnn attention",
    }
    fresh.edit("conf/study/small.yaml", "lr=1e30", "lr=1e-3")
    fresh.run()
    assert "loss became" not in (fresh.study / "report/index.html").read_text()


UNLUCKY = '''"""An Elman network whose first draw of seed 1 is bad."""
import torch
from lookback.models.rnn import RNN


class Unlucky(RNN):
    def initialise(self, initialisation):
        super().initialise(initialisation)
        if torch.initial_seed() == 1:
            self.kernel.weight_ih_l0.data.fill_(torch.inf)
'''


def test_a_seed_that_diverges_is_named_everywhere_and_leaves_nothing_to_do(fresh):
    (fresh.root / "src/lookback/models/unlucky.py").write_text(UNLUCKY)
    text = (fresh.root / "conf/model/rnn.yaml").read_text()
    named = text.replace("models.rnn.RNN", "models.unlucky.Unlucky")
    (fresh.root / "conf/model/unlucky.yaml").write_text(named)
    fresh.edit("conf/study/small.yaml", "  rnn:\n", "  unlucky:\n")
    fresh.run()
    cell = fresh.study / "adding" / "unlucky"
    assert [path.name for path in (cell / "checkpoints").glob("*.ckpt")] == ["seed=0.ckpt"]
    assert set(read_parquet(cell / "probe/gradient_flow.parquet").seed) == {0}
    page = (fresh.study / "report/index.html").read_text()
    assert "unlucky: 1 of 2 seeds; seed 1 diverged: the loss became nan at step 1" in page
    runs = sqlite3.connect(fresh.root / "results/mlflow.db").execute(
        "select name, status from runs"
    )
    status = dict(runs.fetchall())
    assert status["adding/unlucky seed 0"] == "FINISHED"
    assert status["adding/unlucky seed 1"] == status["adding/unlucky"] == "FAILED"
    assert fresh.planned() == set()
    fresh.run("overrides=[study.seeds=3]")  # the lost seed is not tried again
    assert set(read_json(cell / "metrics.json")["seeds"]) == {"0", "2"}
    starts = [
        line
        for path in (fresh.root / "results/.runs").glob("*/seed=1/journal.jsonl")
        for line in path.read_text().splitlines()
        if '"start"' in line and '"unlucky"' in line
    ]
    assert len(starts) == 1


def test_a_started_study_reads_nothing_but_its_plan(fresh, finished_once):
    """conf/, workflow/ and the live package go while the first job runs."""
    process = fresh.start(cores=1)
    fresh.wait_for_training()
    for part in ("conf", "workflow", "src"):
        shutil.rmtree(fresh.root / part)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert fresh.contents() == finished_once.contents()


def test_an_edit_while_a_study_runs_touches_no_job_and_is_not_missed_afterwards(
    fresh, finished_once
):
    process = fresh.start(cores=1)
    fresh.wait_for_training()
    fresh.edit(
        "src/lookback/kernels/gru.py",
        "n = tanh(load(a, j, lanes) + r * s)",
        "n = tanh(load(a, j, lanes) + r * r * s)",
    )
    fresh.edit("conf/model/rnn.yaml", "hidden_size: 64", "hidden_size: 65")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert fresh.contents() == finished_once.contents()
    assert "train adding/gru" in fresh.planned()
    assert "train adding/attention" not in fresh.planned()


def test_a_second_run_waits_for_none_and_says_so(fresh):
    process = fresh.start(cores=1)
    fresh.wait_for_training()
    try:
        said = fresh.run(status=2)
        assert "another run is writing to results/" in said
        assert "Traceback" not in said
        assert "another run" in fresh.lookback("clean", status=2)
        fresh.run("-n")  # a dry run harms nothing
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_result_that_a_lost_job_left_is_not_taken_for_current(finished):
    """A cluster's job outlives its Snakemake: it leaves a result of an edit that was undone since.

    Snakemake's records are those of the run before the edit, and say that all is well.
    """
    before = finished.contents()
    records = finished.root / ".snakemake/metadata"
    kept = shutil.copytree(records, finished.root / "records")
    finished.edit("conf/model/gru.yaml", "layers: 1", "layers: 2")
    finished.run()
    shutil.rmtree(records)
    shutil.move(kept, records)
    finished.edit("conf/model/gru.yaml", "layers: 2", "layers: 1")
    assert "train adding/gru" in finished.planned()
    assert "train adding/rnn" not in finished.planned()
    finished.run()
    assert finished.contents() == before


def test_a_dry_run_is_not_what_was_started_and_a_stopped_study_keeps_its_seeds(finished):
    runs = {path.name for path in (finished.root / "results/.runs").iterdir()}
    index = (finished.study / ".index").read_text()
    finished.run("overrides=[trainer.max_epochs=2]", "-n")
    assert (finished.study / ".index").read_text() == index
    (finished.study / "adding/gru/metrics.json").unlink()  # as a study that was stopped
    finished.lookback("clean")
    assert {path.name for path in (finished.root / "results/.runs").iterdir()} == runs


def test_a_server_that_cannot_be_reached_fails_the_tracking_alone(fresh):
    fresh.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    said = fresh.run(status=1)
    assert re.search(r"FAILED track: .*127\.0\.0\.1:9", said)
    assert said.count("FAILED") == 1
    assert (fresh.study / "report/index.html").exists()
    assert fresh.planned() == {"track", "report"}


def test_what_was_deleted_in_mlflow_s_store_is_tracked_again_and_nothing_else_runs(finished):
    (finished.root / "results/mlflow.db").unlink()
    assert finished.planned() == {"track", "report"}
    finished.run()
    assert finished.planned() == set()
    (receipt,) = (finished.study / "tracked").iterdir()
    receipt.write_text("{")
    assert finished.planned() == {"track", "report"}
    finished.run()
    assert finished.planned() == set()


@pytest.mark.parametrize("uri", ["file:./mlruns", "htp://host", "sqlite://", "postgresql://h/db"])
def test_a_store_that_mlflow_cannot_write_to_is_refused_before_anything_runs(fresh, uri):
    fresh.environment["MLFLOW_TRACKING_URI"] = uri
    said = fresh.run(status=2)
    assert f"MLflow cannot write to '{uri}'" in said
    assert "Traceback" not in said
    assert not fresh.study.exists()


def test_an_empty_tracking_uri_is_none(fresh):
    fresh.environment["MLFLOW_TRACKING_URI"] = ""
    fresh.run("-n")
    (index,) = (fresh.root / "results/.plan/study").iterdir()
    assert read_json(index)["uri"] == "sqlite:///results/mlflow.db"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study=smal"], "Did you mean 'small'"),
        (["stduy=small"], "Did you mean 'study'"),
        (["study=small", "overrides=[trainer.max_epoch=2]"], "Did you mean 'trainer.max_epochs'"),
    ],
)
def test_a_mistake_at_the_command_line_is_a_sentence_and_status_2(fresh, arguments, said):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", *arguments]
    printed = fresh.call(command, status=2)
    assert said in printed
    assert "Traceback" not in printed
    assert not (fresh.root / "results" / "small").exists()


def test_results_of_another_version_are_not_touched(finished):
    (finished.root / "results/.layout.json").write_text('{"layout": 99}')
    assert "another version" in finished.run(status=2)


def test_a_plan_of_a_hundred_cells_is_quick_to_make_and_imports_no_torch(fresh):
    models = "\n".join(
        f"  gru{i}: {{base: gru, overrides: [model.hidden_size={i + 2}]}}" for i in range(25)
    )
    tasks = "\n".join(
        f"  adding{i}: {{base: adding, overrides: [task.length={i + 9}]}}" for i in range(4)
    )
    text = f"# Many\ntasks:\n{tasks}\nmodels:\n{models}\nseeds: 1\n"
    text += "probes: [gradient_flow]\nexplainers: [occlusion]\n"
    (fresh.root / "conf/study/small.yaml").write_text(text)
    code = (
        "import sys; from snakemake.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: status = end.code\n"
        "assert not {'torch', 'mlflow', 'captum'} & set(sys.modules), 'heavy'\n"
        "sys.exit(status)"
    )
    said = fresh.call([sys.executable, "-c", code, "--cores", "2", "-n", "--config", "study=small"])
    assert "100 train" in said


EQUAL = """# conf/study/small.yaml — under equal conditions, who adds best?
tasks:
  adding: {overrides: [task.length=10, task.train=96, task.validation=32, task.test=48]}
models: [rnn, gru]
seeds: 2
match: {params: 300, tolerance: 0.2}
tune: {lr: [1e-2, 1e-9], budget: {steps: 12}}
overrides: [trainer.batch_size=16, trainer.max_epochs=2, trainer.log_every=2]
probes: [gradient_flow]
"""


def test_a_study_under_equal_conditions_tunes_matches_and_reruns_no_more_than_it_must(fresh):
    study = "conf/study/small.yaml"
    (fresh.root / study).write_text(EQUAL)
    fresh.run()
    for model in ("rnn", "gru"):
        cell = fresh.study / "adding" / model
        tuned, metrics = read_json(cell / "tune.json"), read_json(cell / "metrics.json")
        assert tuned["chosen"] == {"recipe.optimizer.lr": 0.01}
        assert [trial["steps"] for trial in tuned["trials"]] == [12, 12]
        assert abs(metrics["parameters"] - 300) <= 60
        assert f"hidden_size: {metrics['hidden_size']}\n" in (cell / "config.yaml").read_text()
    page = (fresh.study / "report/index.html").read_text()
    assert "nearly 300 parameters" in page
    assert "recipe.optimizer.lr" in page
    query = "select count(*) from params where key = 'tune.trials' and value = '2'"
    database = sqlite3.connect(fresh.root / "results/mlflow.db")
    assert database.execute(query).fetchone() == (2,)
    assert fresh.planned() == set()

    before = fresh.contents()
    trained = {
        path: path.stat().st_mtime_ns for path in fresh.root.glob("results/.runs/*/*/done.*")
    }
    assert len(trained) == 2 * (2 + 2)  # trials and seeds of each model
    fresh.edit(study, "1e-9]", "1e-9, 1e-8]")
    planned = fresh.planned()
    assert {"tune adding/gru", "train adding/gru", "probe adding/gru gradient_flow"} <= planned
    assert "prepare adding" not in planned
    fresh.run()
    again = {path: path.stat().st_mtime_ns for path in fresh.root.glob("results/.runs/*/*/done.*")}
    assert trained.items() <= again.items()
    assert len(again) == len(trained) + 2  # the new value of each model alone
    fresh.edit(study, "1e-9, 1e-8]", "1e-9]")
    fresh.lookback("clean")
    fresh.run()
    assert fresh.contents() == before
    assert {path: path.stat().st_mtime_ns for path in again} == again


def test_a_cell_that_cannot_be_matched_is_neither_tuned_nor_trained_and_says_why(fresh):
    (fresh.root / "conf/study/small.yaml").write_text(EQUAL.replace("[rnn,", "[transformer,"))
    said = fresh.run(status=1)
    assert re.search(r"FAILED tune adding/transformer: no hidden_size of .* has 300 param", said)
    assert not (fresh.study / "adding/transformer/log/train.log").exists()
    assert (fresh.study / "adding/gru/metrics.json").exists()
    assert "no hidden_size of" in (fresh.study / "report/index.html").read_text()


def test_clean_keeps_what_results_refer_to_and_nothing_else(finished):
    """An edit that was only looked at, and undone, leaves plans and a copy of the code."""
    kept = ("results/.plan/*/*.yaml", "results/.code/*", "results/.runs/*")
    before, made = finished.contents(), finished.made(*kept)
    finished.edit("src/lookback/models/gru.py", "torch.tanh(", "2 * torch.tanh(")
    assert "train adding/gru" in finished.planned()
    finished.edit("src/lookback/models/gru.py", "2 * torch.tanh(", "torch.tanh(")
    stray = finished.root / "results/.runs/0000/seed=0"
    stray.mkdir(parents=True)
    assert len(finished.made("results/.plan/train/*")) == len(MODELS) + 1
    finished.lookback("clean")
    assert finished.made(*kept) == made
    assert finished.planned() == set()
    assert finished.contents() == before
    shutil.rmtree(finished.study / "adding/gru")
    finished.run()  # the kept seeds come back as a copy
    assert finished.contents() == before
    starts = [p.read_text().count('"start"') for p in finished.root.glob(f"{kept[2]}/*/journal*")]
    assert starts == [1] * 2 * len(MODELS)
