"""The rules of the workflow and storage/ name the same files."""

from pathlib import Path

import pytest

from lookback.storage.cell_paths import CellPaths, TaskPaths
from lookback.storage.paths import MANIFEST, RESULTS
from lookback.storage.study_paths import StudyPaths
from tests.conftest import ROOT

RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
CELL = CellPaths(Path("results/study/task/model"))
STUDY = StudyPaths.of("study")


@pytest.mark.parametrize(
    "path",
    [
        *(CELL.config, CELL.tuning, CELL.history, CELL.metrics, CELL.predictions, CELL.cost),
        *(CELL.checkpoints, CELL.log("train"), CELL.log("tune")),
        *(CELL.probe("{probe}"), CELL.attributions("{explain}"), CELL.scores("{explain}")),
        *(CELL.log("probe-{probe}"), CELL.log("explain-{explain}")),
    ],
    ids=str,
)
def test_a_file_of_a_cell_has_the_name_that_the_rules_declare(path: Path):
    name = path.relative_to(CELL.folder).as_posix()
    assert f'cell("{name}")' in RULES or f'{{name}}/{name}"' in RULES


def test_the_files_of_a_task_a_dataset_and_a_study_have_the_names_of_the_rules():
    assert CELL.task == TaskPaths(Path("results/study/task"))
    for folder, path in ((CELL.task.folder, CELL.task.facts), (CELL.task.folder, CELL.task.log)):
        assert f'{{{{task}}}}/{path.relative_to(folder).as_posix()}"' in RULES
    assert f'{RESULTS}/data/{{dataset}}/{MANIFEST}"' in RULES
    for path in (STUDY.summary, STUDY.receipts, STUDY.figures.parent / "index.html"):
        assert f"{{STUDY}}/{path.relative_to(STUDY.folder).as_posix()}" in RULES


def test_another_name_would_be_seen():
    assert 'cell("metric.json")' not in RULES
