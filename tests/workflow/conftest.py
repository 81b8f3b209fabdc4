import shutil
from pathlib import Path

import pytest

from tests.workflow.projects import Project


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose small study has run; nobody changes it."""
    project = Project.at(tmp_path_factory.mktemp("finished") / "project")
    project.output = project.run()
    return project


@pytest.fixture
def finished(finished_once: Project, tmp_path: Path) -> Project:
    """A copy of it that a test may change."""
    return finished_once.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path: Path, empty_store: Path) -> Project:
    """A project that nothing was run in, but for an MLflow store without runs."""
    project = Project.at(tmp_path / "project")
    (project.root / "results").mkdir()
    shutil.copyfile(empty_store, project.root / "results" / "mlflow.db")
    return project
