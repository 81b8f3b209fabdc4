"""The same study through a real Slurm, where LOOKBACK_SLURM names a partition."""

import os
import shutil
import subprocess

import pytest

from tests.workflow.projects import Project

pytestmark = pytest.mark.skipif(
    "LOOKBACK_SLURM" not in os.environ,
    reason="needs a Slurm: set LOOKBACK_SLURM to a partition that sbatch may use",
)


def completed_jobs() -> set[str]:
    listed = ["squeue", "--states=COMPLETED", "--noheader", "--format=%i"]
    return set(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split())


def test_a_cluster_s_numbers_are_those_of_one_machine_and_its_jobs_need_no_conf(
    fresh: Project, finished_once: Project
):
    """conf/, workflow/ and the live package go after submission: jobs read the plan alone."""
    before = completed_jobs()
    process = fresh.start(
        *("--profile", "profiles/slurm", "--jobs", "4"),
        *("--slurm-no-account", "--slurm-status-command", "squeue"),
        *("--slurm-init-seconds-before-status-checks", "2"),
        *("--seconds-between-status-checks", "2"),
        *("--default-resources", f"slurm_partition={os.environ['LOOKBACK_SLURM']}", "runtime=5"),
        cores=2,
    )
    fresh.wait_for_training()
    for part in ("conf", "workflow", "src"):
        shutil.rmtree(fresh.root / part)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    submitted = completed_jobs() - before
    assert len(submitted) == 3 * (1 + 1 + 2)  # train, one probe, two explainers: for each model
    assert fresh.contents() == finished_once.contents()
    assert (fresh.study / "report/index.html").exists()
