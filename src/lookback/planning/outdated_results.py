"""Makes Snakemake rerun each stage whose result is outdated, damaged or incomplete.

Each result stores the digests of the plan files that it was made from. A result is outdated if
these digests differ from those of the study's current plan files. Snakemake keeps its own record in
.snakemake/, but this record is lost if results/ is copied or shared, and it does not know results
of jobs that outlived Snakemake's main process. Without a record, Snakemake compares only time
stamps. This module therefore changes time stamps, so that the plan file of each outdated result is
newer than the result.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths
from lookback.storage.contents import have_sizes
from lookback.storage.paths import RESULTS, manifest_file
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import StudyPaths, contents_note

CLOCK_TOLERANCE = 60.0  # seconds by which the clocks of two machines may differ
SNAKEMAKE_TIME = ".snakemake_timestamp"  # Snakemake takes the time of a folder from this file


@dataclass(frozen=True)
class Result:
    """An output of a job."""

    output: Path  # the file or folder that Snakemake knows as the output of the job
    mark: Path  # the file that stores the digests of the plan files; often equal to `output`
    plan: Path  # the current plan file of the job's stage
    expected: Mapping[str, str]  # digest of the current plan file of each stage
    listed: str = ""  # only the listed files whose names start with this text must exist
    # Other outputs of the job, which store the same digests. Snakemake does not rerun a job if an
    # output is missing that no other job needs.
    others: tuple[Path, ...] = ()

    def names_current_plans(self) -> bool:
        """Whether the result was made from the current plan files."""
        return plans_of(self.mark) == self.expected


def rerun_outdated_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Make Snakemake rerun each stage of a study whose result is not up to date.

    `index` is the content of the study's index file. `expected` maps each cell of the study to the
    digests of the plan files from which its results must be made. Raises UserError if a result has
    a time stamp in the future, because Snakemake would then not rerun its stage.
    """
    latest = time.time() + CLOCK_TOLERANCE
    current_plans: set[Path] = set()
    others: list[Result] = []
    for result in (*_shared_results(index, expected), *_cell_results(index, expected)):
        try:
            written = result.output.stat().st_mtime
        except FileNotFoundError:
            continue
        for path, changed in (
            (result.output, written),
            (result.plan, result.plan.stat().st_mtime),
        ):
            if changed > latest:
                raise UserError(_advice_on_clock(path, changed))
        if result.names_current_plans() and _is_whole(result):
            current_plans.add(result.plan)
        else:
            others.append(result)
    for result in others:
        if result.output.stat().st_mtime < result.plan.stat().st_mtime:
            continue
        # An outdated result of another plan keeps its time stamp: it may become current again.
        if result.plan in current_plans or result.names_current_plans():
            _set_back(result)
        else:
            os.utime(result.plan)


def _shared_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Result]:
    """The results that belong to no cell: data, tasks, summary, figures, receipt and report."""
    study = StudyPaths.of(index["study"]["name"])
    for dataset, stage in index["datasets"].items():
        manifest = manifest_file(dataset)
        yield _result(manifest, stage, {"download": _digest(stage)})
    for name, task in index["tasks"].items():
        model = next(cell for cell in expected if cell.partition("/")[0] == name)
        of_data = {
            stage: digest
            for stage, digest in expected[model]["train"].items()
            if stage in ("download", "prepare")
        }
        yield _result(study.task(name).facts, task["prepare"], of_data)
    own = {stage: {stage: _digest(index[stage])} for stage in ("summarise", "report", "track")}
    summary = Path(index["summarise"]["plan"])
    yield Result(study.summary, contents_note(study.summary), summary, own["summarise"])
    report = Path(index["report"]["plan"])
    yield Result(study.draft, contents_note(study.draft), report, own["report"], study.figures.name)
    yield Result(study.report, contents_note(study.report), report, own["report"])
    yield _result(study.receipt(index["receipt"]), index["track"], own["track"])


def _cell_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Result]:
    """The results of all models on all tasks of a study."""
    folder = StudyPaths.of(index["study"]["name"]).folder
    for name, stages in index["cells"].items():
        cell, plans = CellPaths(folder / name), expected[name]
        if not cell.folder.exists():
            continue
        if "tune" in stages:
            yield _result(cell.tuning, stages["tune"], plans["tune"])
        yield _result(cell.metrics, stages["train"], plans["train"], cell.cost)
        for option, stage in stages["probe"].items():
            yield _result(cell.probe(option), stage, plans["probe"][option])
        for option, stage in stages["explain"].items():
            attributions, scores = cell.attributions(option), cell.scores(option)
            yield _result(attributions, stage, plans["explain"][option], scores)


def _result(
    path: Path, stage: Mapping[str, str], expected: Mapping[str, str], *others: Path
) -> Result:
    return Result(path, path, Path(stage["plan"]), expected, others=others)


def _digest(stage: Mapping[str, str]) -> str:
    return Path(stage["plan"]).stem


def _is_whole(result: Result) -> bool:
    """Whether all files that belong to a result exist, with the sizes that the result lists."""
    if any(plans_of(path) != result.expected for path in result.others):
        return False
    if result.mark.suffix != ".json":
        return True
    files = read_json(result.mark).get("files", {})
    listed = {name: size for name, size in files.items() if name.startswith(result.listed)}
    return have_sizes(result.mark.parent, listed)


def _set_back(result: Result) -> None:
    """Set the time stamp of a result to one second before its plan file was written."""
    time_stamp = result.plan.stat().st_mtime - 1
    carrier = result.output / SNAKEMAKE_TIME
    for path in (result.output, carrier):
        if path.exists():
            os.utime(path, (time_stamp, time_stamp))


def _advice_on_clock(path: Path, written: float) -> str:
    days = (written - time.time()) / 86_400
    return (
        f"{path} has a time stamp that is {days:.1f} days in the future, so the clock of this "
        "machine is or was wrong.\nSnakemake finds outdated results by their time stamps. Set the "
        "clock right, and then give these files the current time:\n"
        f"find {RESULTS} -newermt now -exec touch {{}} +"
    )
