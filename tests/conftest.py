"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without runs, made once: its migrations take seconds."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # itself seconds

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    SqlAlchemyStore(f"sqlite:///{path}", "mlartifacts").engine.dispose()
    return path


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What only a GPU can show waits for one, aloud."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU; none here"))


def pytest_report_header() -> list[str]:
    """Which services the environment has switched on."""
    names = ("LOOKBACK_MNIST_MIRROR", "LOOKBACK_SLURM")
    return [f"{name}: {os.environ.get(name, 'not set: its tests are skipped')}" for name in names]
