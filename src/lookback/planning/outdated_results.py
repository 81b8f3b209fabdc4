"""Makes Snakemake rerun the stages whose results were made from outdated plan files."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookback.storage.cell_paths import CellPaths
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import StudyPaths


def result_paths(
    study: str, cell: str, stages: Mapping[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    """The path, stage and option of each result file that stores the digests of its plan files.

    The option is the name of the probe or explainer, and is empty for other stages.
    """
    paths = CellPaths(StudyPaths.of(study).folder / cell)
    if "tune" in stages:
        yield paths.tuning, "tune", ""
    yield paths.metrics, "train", ""
    for option in stages["probe"]:
        yield paths.probe(option), "probe", option
    for option in stages["explain"]:
        yield paths.attributions(option), "explain", option


def touch_plans_of_outdated_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Make Snakemake rerun each stage whose result was made from outdated plan files.

    A job that outlives Snakemake's main process leaves a result without a record in .snakemake/.
    For a result without a record, Snakemake compares only time stamps, so it would not rerun the
    stage if the result is newer than the plan file. The function therefore sets the time stamp of
    the current plan file to the current time.
    """
    for cell, stages in index["cells"].items():
        for path, stage, option in result_paths(index["study"]["name"], cell, stages):
            wanted = expected[cell][stage]
            plan = Path((stages[stage][option] if option else stages[stage])["plan"])
            if option:
                wanted = wanted[option]
            if (
                path.exists()
                and plan.stat().st_mtime <= path.stat().st_mtime
                and plans_of(path) != wanted
            ):
                os.utime(plan)
