import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A project's root as working directory, with two stores: results/mlflow.db and another."""
    monkeypatch.chdir(tmp_path)
    for name in ("mlflow.db", "other/mlflow.db"):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(empty_store, path)
    return tmp_path
