"""Makes Snakemake rerun each stage whose result is outdated, damaged or incomplete.

Each result stores the digests of the plan files that it was made from. A result is outdated if
these digests differ from those of the study's current plan files. Snakemake keeps its own record in
.snakemake/, but this record is lost if results/ is copied or shared, and it does not know results
of jobs that outlived Snakemake's main process. Without a record, Snakemake compares only time
stamps. This module therefore sets the time stamp of an outdated result to a time before its plan
file was written. The old time stamp is noted, and is restored if the result becomes current again.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from lookback.errors import UserError
from lookback.storage.atomic import read_json, write_json
from lookback.storage.cell_paths import CellPaths
from lookback.storage.contents import have_sizes
from lookback.storage.paths import RESULTS, manifest_file
from lookback.storage.provenance import plans_of
from lookback.storage.study_paths import StudyPaths, contents_note

CLOCK_TOLERANCE = 60.0  # seconds by which the clocks of two machines may differ
NOTE = RESULTS / ".times.json"  # time stamps of results that were set back
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
    # The seeds of the study, for a result that lists its seeds.
    seeds: frozenset[str] = frozenset()

    def is_current(self) -> bool:
        """Whether the result was made from the current plan files, and all its files exist.

        The sizes of the files are compared with the list in the result, and not their contents.
        """
        if any(plans_of(path) != self.expected for path in (self.mark, *self.others)):
            return False
        if self.mark.suffix != ".json":
            return True
        mark = read_json(self.mark)
        listed = mark.get("files", {}).items()
        files = {name: size for name, size in listed if name.startswith(self.listed)}
        return (
            have_sizes(self.mark.parent, files)
            and self.seeds <= {*mark.get("seeds", ()), *mark.get("failed", ())}
            and all(plans_of(Path(path)) == plans for path, plans in mark.get("lacked", {}).items())
        )


def rerun_outdated_results(index: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Make Snakemake rerun each stage of a study whose result is not up to date.

    `index` is the content of the study's index file. `expected` maps each cell of the study to the
    digests of the plan files from which its results must be made. Raises UserError if a result has
    a time stamp in the future, because Snakemake would then not rerun its stage.
    """
    latest = time.time() + CLOCK_TOLERANCE
    with FileLock(NOTE.with_suffix(".lock")):
        noted = _noted_times()
        before = dict(noted)
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
            if result.is_current():
                _restore_time(result, noted)
            else:
                _set_back(result, noted)
        if noted != before:
            write_json(NOTE, noted)


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
    seeds = frozenset(map(str, index["study"]["seeds"]))
    for name, stages in index["cells"].items():
        cell, plans = CellPaths(folder / name), expected[name]
        if not cell.folder.exists():
            continue
        if "tune" in stages:
            yield _result(cell.tuning, stages["tune"], plans["tune"])
        others = (cell.cost, cell.history, cell.predictions)
        trained = _result(cell.metrics, stages["train"], plans["train"], *others)
        yield replace(trained, seeds=seeds)
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


def _set_back(result: Result, noted: dict[str, list[int]]) -> None:
    """Set the time stamp of a result to one second before its plan file was written.

    The old time stamp is added to `noted`, unless the result is already older than its plan file.
    """
    planned = result.plan.stat().st_mtime_ns
    written = _time_carrier(result.output).stat().st_mtime_ns
    if written < planned:
        return
    set_back = planned - 10**9
    _set_time(result.output, set_back)
    key = result.output.as_posix()
    original, earlier = noted.get(key, (written, written))
    noted[key] = [original if written == earlier else written, set_back]


def _restore_time(result: Result, noted: dict[str, list[int]]) -> None:
    """Give a current result its old time stamp, if it was set back and not written again since."""
    original, set_back = noted.pop(result.output.as_posix(), (0, -1))
    if _time_carrier(result.output).stat().st_mtime_ns == set_back:
        _set_time(result.output, original)


def _noted_times() -> dict[str, list[int]]:
    """The original time and the present time of each result that was set back, in nanoseconds."""
    try:
        times: dict[str, list[int]] = read_json(NOTE)
    except (OSError, ValueError):
        return {}
    return times


@cache
def _set_back_outputs() -> frozenset[str]:
    return frozenset(_noted_times())


def _time_carrier(output: Path) -> Path:
    """The file from which Snakemake takes the time of an output."""
    carrier = output / SNAKEMAKE_TIME
    return carrier if carrier.exists() else output


def _set_time(output: Path, time_stamp: int) -> None:
    for path in {output, _time_carrier(output)}:
        os.utime(path, ns=(time_stamp, time_stamp))


def was_set_back(output: str) -> bool:
    """Whether the planning has set the time stamp of the result `output` back."""
    return output in _set_back_outputs()


def _advice_on_clock(path: Path, written: float) -> str:
    days = (written - time.time()) / 86_400
    return (
        f"{path} has a time stamp that is {days:.1f} days in the future, so the clock of this "
        "machine is or was wrong.\nSnakemake finds outdated results by their time stamps. Set the "
        "clock right, and then give these files the current time:\n"
        f"find {RESULTS} -newermt now -exec touch {{}} +"
    )
