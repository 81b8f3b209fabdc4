"""The layers of docs/design.md: `make check` holds them with import-linter, and it can fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("data/task.py", "import lookback.report.report", "Imports point down"),
        ("storage/lock.py", "import lookback.planning.plan", "Imports point down"),
        ("planning/study.py", "import numpy", "Planning and what it imports are light"),
        ("summarise/cells.py", "import mlflow", "Only tracking imports MLflow"),
        ("report/report.py", "import lookback.planning.plan", "Jobs read plans and make none"),
        ("attic/__init__.py", "", "Imports point down"),
    ],
)
def test_a_planted_import_breaks_its_contract(tmp_path: Path, module, line, contract):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "src/lookback" / module
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout


def test_the_code_as_it_is_breaks_none():
    assert lint(ROOT).returncode == 0


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
