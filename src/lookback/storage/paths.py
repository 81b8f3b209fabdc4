"""The folders of results/, and the paths of plans, downloads and locks.

The names of all files in results/ are in three modules and in workflow/rules/. The paths are
relative to the project's folder, because every study runs in the project's folder.

    results/data/<dataset>/manifest.json …           paths.py: downloads, shared by all studies
    results/.plan  .code  .tracking  .lock           paths.py: plans, code copies, project, lock
    results/<study>/<task>/task.json                 cell_paths.py: TaskPaths
    results/<study>/<task>/<model>/…                 cell_paths.py: CellPaths
    results/.runs/<key>/seed=<n>/…                   cell_paths.py: SeedPaths
    results/<study>/summary, report, tracked         study_paths.py: StudyPaths
"""

from pathlib import Path

# PROJECT is the project's folder, which contains conf/, src/ and workflow/.
# Jobs must not use PROJECT, because they import a copy of this file, in which PROJECT is wrong.
PROJECT = Path(__file__).parents[3]

RESULTS = Path("results")
DATA = RESULTS / "data"
PLANS = RESULTS / ".plan"
CODE = RESULTS / ".code"
RUNS = RESULTS / ".runs"
TRACKING = RESULTS / ".tracking"
LOCK = RESULTS / ".lock"
PLANS_LOCK = RESULTS / ".plans.lock"
LAYOUT = RESULTS / ".layout.json"
MANIFEST = "manifest.json"  # in the folder of a dataset


def plan_file(stage: str, digest: str, plans: Path = PLANS) -> Path:
    """The file of a stage's plan. The name of a plan file is the digest of the file's content."""
    return plans / stage / f"{digest}.yaml"


def dataset_folder(dataset: str) -> Path:
    """The folder of a downloaded dataset."""
    return DATA / dataset


def manifest_file(dataset: str) -> Path:
    """The file that lists the data files of a dataset and their verified SHA-256 checksums.

    Snakemake's DAG contains the file manifest.json instead of the data files of the dataset.
    """
    return dataset_folder(dataset) / MANIFEST


def lock_file(folder: Path) -> Path:
    """The file that a process locks while the process works in `folder`."""
    return folder / ".lock"
