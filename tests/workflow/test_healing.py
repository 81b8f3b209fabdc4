"""Results that were moved, copied, shared, damaged or lost in part come back as they were."""

import os
import shutil
import subprocess
import time

import pytest

from lookback.storage.atomic import read_json
from tests.conftest import ROOT
from tests.workflow.projects import Project

OUTCOMES = ("report/index.html", "summary/results.parquet", "summary/runs.parquet")
GAIT = ROOT.parent / "shared" / "cases" / "own"


def outcomes(project: Project) -> dict[str, bytes]:
    """The bytes of the results, the summary and the report, which must be as they were."""
    return project.contents() | {name: (project.study / name).read_bytes() for name in OUTCOMES}


def test_going_back_to_an_earlier_study_without_snakemakes_record_gives_its_results(finished):
    before = outcomes(finished)
    finished.edit("conf/study/small.yaml", "task.length=10", "task.length=12")
    finished.run()
    assert outcomes(finished) != before
    shutil.rmtree(finished.root / ".snakemake")  # as after `rsync` of the project
    finished.edit("conf/study/small.yaml", "task.length=12", "task.length=10")
    assert {"prepare adding", "summarise", "draw", "track", "report"} <= finished.planned()
    finished.run()
    assert outcomes(finished) == before
    assert finished.planned() == set()
    # Only looking at the other study costs nothing.
    finished.edit("conf/study/small.yaml", "task.length=10", "task.length=12")
    assert "prepare adding" in finished.planned()
    finished.edit("conf/study/small.yaml", "task.length=12", "task.length=10")
    assert finished.planned() == set()


def test_two_projects_that_share_results_each_get_their_own_study(finished, tmp_path):
    before = outcomes(finished)
    other = Project.at(tmp_path / "other")
    (other.root / "results").symlink_to(finished.root / "results")
    other.edit("conf/study/small.yaml", "task.length=10", "task.length=12")
    other.run()
    assert outcomes(finished) != before
    finished.run()  # its own record says that nothing is left to do
    assert outcomes(finished) == before


# Each file, with the first job that must run again. The later files need the earlier jobs, too.
LOST = {
    "report/tables/plans.csv": "report",
    "report/figures/results_adding.svg": "draw",
    "report/.drawn.html": "draw",
    "summary/results.parquet": "summarise",
    "summary": "summarise",
    "adding/task.json": "prepare adding",
    "adding/gru/explain/occlusion.scores.parquet": "explain adding/gru occlusion",
    "adding/attention/cost.json": "train adding/attention",
    "adding/rnn/predictions.parquet": "train adding/rnn",
    "adding/gru/checkpoints/seed=1.ckpt": "train adding/gru",
}


def test_a_lost_or_emptied_file_is_made_again(finished):
    before = outcomes(finished)
    checkpoint = (finished.study / "adding/gru/checkpoints/seed=1.ckpt").read_bytes()
    for number, (name, job) in enumerate(LOST.items()):
        path = finished.study / name
        if path.is_dir():
            shutil.rmtree(path)
        elif number % 2:
            times = path.stat()
            path.write_bytes(b"")  # as after a power cut
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        else:
            path.unlink()
        assert job in finished.planned(), name
    finished.run()
    assert (finished.study / "adding/gru/checkpoints/seed=1.ckpt").read_bytes() == checkpoint
    assert all((finished.study / name).stat().st_size for name in LOST)
    assert outcomes(finished) == before
    assert finished.planned() == set()


def test_a_study_leaves_the_results_and_seeds_of_another_alone(finished):
    """The studies `small` and `other` have equal settings, so they share all plans of cells."""
    study = (finished.root / "conf/study/small.yaml").read_text()
    (finished.root / "conf/study/other.yaml").write_text(study)
    finished.run("--config", "study=other")
    finished.edit("conf/study/small.yaml", "task.length=10", "task.length=12")
    finished.run()
    finished.edit("conf/study/small.yaml", "task.length=12", "task.length=10")
    assert "prepare adding" in finished.planned()
    assert finished.planned("--config", "study=other") == set()
    shutil.rmtree(finished.root / ".snakemake")
    other = finished.root / "results/other"
    finished.edit("conf/study/other.yaml", "seeds: 2", "seeds: 3")
    assert "train adding/gru" in finished.planned("--config", "study=other")
    seeds = finished.made("results/.runs/*/seed=*/done.json")
    (other / "adding/task.json").unlink()
    finished.lookback("clean")
    assert finished.made("results/.runs/*/seed=*/done.json") == seeds
    finished.run("--config", "study=other")
    assert set(read_json(other / "adding/gru/metrics.json")["seeds"]) == {"0", "1", "2"}


def test_a_file_that_kept_its_size_but_not_its_content_is_made_again(finished):
    before = outcomes(finished)
    for name in ("adding/gru/checkpoints/seed=0.ckpt", "adding/rnn/predictions.parquet"):
        path = finished.study / name
        path.write_bytes(path.read_bytes()[:600].ljust(path.stat().st_size, b"\0"))
    (finished.study / "adding/gru/probe/gradient_flow.parquet").unlink()
    shutil.rmtree(finished.study / "summary")
    said = finished.run(status=1)
    assert "is damaged. Start the study again" in said
    assert "Traceback" not in said
    for _ in range(2):  # the first run may meet the other file
        if not finished.planned():
            break
        subprocess.run(finished.command(), cwd=finished.root, env=finished.env(), check=False)
    assert finished.planned() == set()
    assert outcomes(finished) == before


def test_a_copy_that_kept_no_time_stamps_gives_the_same_results(finished, tmp_path):
    before = outcomes(finished)
    shutil.copytree(finished.root, tmp_path / "copied", symlinks=True, copy_function=shutil.copy)
    copied = Project(tmp_path / "copied")
    copied.run()
    assert copied.contents() == finished.contents()
    assert outcomes(finished) == before


def test_a_result_from_the_future_is_refused_with_a_cure_that_works(finished):
    """The clock was two days ahead when the study ran, and was set right then."""
    ahead = time.time() + 2 * 86_400
    for path in (finished.root / "results").rglob("*"):
        os.utime(path, (ahead, ahead))
    finished.edit("conf/model/gru.yaml", "layers: 1", "layers: 2")
    said = finished.run(status=2)
    assert "2.0 days in the future" in said
    cure = said.strip().splitlines()[-1].strip()
    finished.call(["bash", "-c", cure])
    finished.run()
    assert read_json(finished.study / "adding/gru/metrics.json")["parameters"] > 200
    assert finished.planned() == set()


@pytest.mark.skipif(not GAIT.exists(), reason="needs the table of steps in shared/cases")
def test_a_file_of_a_task_is_an_input(fresh):
    """The table of steps gets other labels, and keeps its time stamp."""
    shutil.copytree(GAIT, fresh.root / "own")
    shutil.copy(GAIT / "gait.py", fresh.root / "src/lookback/data/gait.py")
    shutil.copy(GAIT / "gait.yaml", fresh.root / "conf/task/gait.yaml")
    study = "tasks: [gait]\nmodels: [gru]\nseeds: 1\n"
    study += "overrides: [trainer.max_steps=60, model.hidden_size=6]\n"
    (fresh.root / "conf/study/small.yaml").write_text(study)
    fresh.run()
    scores = read_json(fresh.study / "gait/gru/metrics.json")["seeds"]
    table = fresh.root / "own/gait.csv"
    times = table.stat()
    shutil.copy(fresh.root / "own/gait_shuffled.csv", table)
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert {"prepare gait", "train gait/gru"} <= fresh.planned()
    fresh.run()
    assert read_json(fresh.study / "gait/gru/metrics.json")["seeds"] != scores
