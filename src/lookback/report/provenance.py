"""Collect the command, code, libraries and plans that reproduce the report's numbers."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from lookback.report.inputs import ReportInputs
from lookback.report.result_tables import Row, Table
from lookback.storage.commit import commit_of_this_code


@dataclass(frozen=True)
class Provenance:
    """The content of the section «How to reproduce» of the report."""

    command: str
    report_code: str
    trained_code: list[str]
    devices: list[str]
    versions: list[str]
    config: str
    plans: Table


def provenance(inputs: ReportInputs) -> Provenance:
    """Collect the command, code, devices, library versions and plans of the study."""
    cost, libraries = inputs.cost, inputs.document["libraries"]
    trained = cost[["commit", "dirty"]].drop_duplicates().itertuples()
    trained_with = [
        f"trained with {_listed(json.loads(each))}" for each in cost["versions"].unique()
    ]
    return Provenance(
        command=command(inputs.study),
        report_code=commit_text(**commit_of_this_code()),
        trained_code=sorted({commit_text(row.commit, row.dirty) for row in trained}),
        devices=[
            f"{row.device}, compute threads: {row.threads}"
            for row in cost[["device", "threads"]].drop_duplicates().itertuples()
        ],
        versions=[*trained_with, f"reported with {_listed(libraries)}"],
        config=yaml.safe_dump(dict(inputs.study), sort_keys=False, allow_unicode=True),
        plans=plans_table(inputs.document["cells"]),
    )


def command(study: Mapping[str, Any]) -> str:
    """The command that runs the study."""
    settings = [f"study={study['name']}"]
    if study["overrides"]:
        settings.append(f"overrides={json.dumps(study['overrides'])}")
    return f"snakemake --cores N --config {shlex.join(settings)}"


def commit_text(commit: Any, dirty: Any) -> str:
    """Describe a commit as text. Unknown arguments are None or NaN."""
    if pd.isna(commit):
        return "code of no known commit"
    changed = not pd.isna(dirty) and dirty
    return f"commit {commit}" + (", with uncommitted changes" if changed else "")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def plans_table(cells: Mapping[str, Any]) -> Table:
    """The table of the digests of the study's plans, for each stage, model and task.

    A plan is a file with the settings and the code version of a stage. The report uses a result
    only if its file stores the digests in this table.
    """
    rows = []
    for cell, expected in cells.items():
        rows += [(cell, stage, "", digest) for stage, digest in expected["train"].items()]
        for stage in ("probe", "explain"):
            rows += [(cell, stage, name, plans[stage]) for name, plans in expected[stage].items()]
    frame = pd.DataFrame(rows, columns=["cell", "stage", "name", "plan"])
    shown = [Row([str(value) for value in row]) for row in rows]
    return Table("plans", "Plans", ["cell", "stage", "name", "plan"], shown, frame)
