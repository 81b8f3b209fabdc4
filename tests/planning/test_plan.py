"""What a plan reaches: every `_target_`, and every file beside the code."""

import hashlib
import importlib
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.planning import libraries
from lookback.planning.code_copy import take
from lookback.planning.code_fingerprints import fingerprints
from lookback.planning.input_files import input_files
from lookback.planning.libraries import versions_of
from lookback.planning.plan import make, receipt_of
from lookback.planning.study import compose_study
from lookback.planning.targets import foreign_packages, own_modules
from lookback.storage.atomic import read_json
from tests.conftest import ROOT


def test_a_target_in_a_list_is_reached_too():
    config = {"blocks": [{"_target_": "lookback.models.gru.GRU"}, {"deep": [{"_target_": "a.B"}]}]}
    modules = {"lookback", "lookback.models", "lookback.models.gru"}
    assert list(own_modules(config, modules)) == ["lookback.models.gru"]


def test_every_dotted_name_that_belongs_to_a_module_counts_wherever_it_stands():
    """Hydra's get_class, get_method and get_object take the name of their class as `path`."""
    config = {
        "cell": {"_target_": "hydra.utils.get_class", "path": "lookback.models.gru.GRU"},
        "step": {"_target_": "hydra.utils.get_method", "path": "lookback.models.rnn.RNN.step"},
        "loss": {"_target_": "hydra.utils.get_object", "path": "torch.nn.functional.huber_loss"},
        "file": "own/gait.csv",
    }
    modules = {"lookback", "lookback.models", "lookback.models.gru", "lookback.models.rnn"}
    assert set(own_modules(config, modules)) == {"lookback.models.gru", "lookback.models.rnn"}
    assert {"hydra", "torch"} <= set(foreign_packages(config))


def test_the_libraries_of_a_stage_are_those_that_its_code_imports(in_tmp):
    for part in ("src", "workflow"):
        shutil.copytree(ROOT / part, in_tmp / part, ignore=shutil.ignore_patterns("__pycache__"))
    gru = in_tmp / "src/lookback/models/gru.py"
    gru.write_text(gru.read_text() + "\n\ndef fitted():\n    import scipy.stats\n")
    study = compose_study(ROOT / "conf", "quick")
    index = read_json(make(in_tmp, study))
    gru, rnn = (index["cells"][f"adding/{model}"]["train"] for model in ("gru", "rnn"))
    found = [set(read_json(Path(it["plan"]))["libraries"]) for it in (gru, rnn, index["track"])]
    assert found[0] - found[1] == {"scipy"}
    assert {"torch", "numpy", "pytorch-lightning", "pandas", "PyYAML", "hydra-core"} <= found[1]
    assert not {"optuna", "captum", "mlflow", "matplotlib", "jaxtyping"} & found[1]
    assert "mlflow" in found[2]


def test_a_target_of_another_library_counts_by_the_name_it_is_installed_under():
    config = {"optimizer": {"_target_": "sklearn.linear_model.SGDClassifier"}}
    assert list(foreign_packages(config)) == ["sklearn"]
    assert versions_of(["sklearn"]) == {"scikit-learn": version("scikit-learn")}


@pytest.fixture
def library(in_tmp, monkeypatch):
    """Installs versions of a package `moments` in a folder of its own."""
    folder = in_tmp / "site"
    monkeypatch.syspath_prepend(str(folder))

    def install(number: str, *, metadata: bool) -> dict[str, str]:
        shutil.rmtree(folder, ignore_errors=True)
        package = folder / "moments"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"ORDER = {number!r}\n")
        if metadata:
            info = folder / f"Moments_of_time-{number}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: Moments-of-time\nVersion: {number}\n")
            (info / "RECORD").write_text("moments/__init__.py,,\n")
        forget()
        return versions_of(["moments"])

    yield install
    forget()


def forget() -> None:
    """A new process knows nothing of the libraries."""
    for known in (libraries._versions, libraries._distributions):
        known.cache_clear()
    importlib.invalidate_caches()


def test_any_distribution_counts_by_its_version(library):
    assert library("1.0", metadata=True) == {"Moments-of-time": "1.0"}
    assert library("2.0", metadata=True) == {"Moments-of-time": "2.0"}


def test_a_package_without_metadata_counts_by_its_source(library):
    first = library("1.0", metadata=False)
    assert list(first) == ["moments"]
    assert library("2.0", metadata=False) != first
    assert library("1.0", metadata=False) == first


@pytest.mark.parametrize("marked", [True, False], ids=["direct_url.json", "another folder"])
def test_a_package_installed_to_be_edited_counts_by_its_version_and_its_source(
    library, in_tmp, monkeypatch, marked
):
    """The package lies beside its metadata, or in a folder that a .pth file names."""
    first = library("1.0", metadata=True)
    info = in_tmp / "site/Moments_of_time-1.0.dist-info"
    package = in_tmp / "site/moments"
    if marked:
        (info / "direct_url.json").write_text('{"url": "", "dir_info": {"editable": true}}')
    else:
        shutil.move(package, in_tmp / "source/moments")
        package = in_tmp / "source/moments"
        monkeypatch.syspath_prepend(str(package.parent))
        (info / "top_level.txt").write_text("moments\n")
        (info / "RECORD").write_text("moments.pth,,\n")
    found = []
    for text in ("ORDER = 1\n", "ORDER = 2\n", "ORDER = 1\n"):
        (package / "__init__.py").write_text(text)
        forget()
        found.append(versions_of(["moments"]))
    assert found[0] == found[2] != found[1]
    assert found[0] != first
    assert all(it["Moments-of-time"].startswith("1.0 source ") for it in found)


def test_a_package_that_is_not_installed_is_no_mistake():
    """A module may import it in a `try`."""
    assert versions_of(["nowhere_to_be_found"]) == {}
    assert versions_of(["__main__"]) == {}


def test_the_digests_of_files_and_folders_that_a_task_names_are_in_the_plan(in_tmp):
    for path, text in {"own/gait.csv": "1", "parts/a.csv": "2", "parts/.hidden": "3"}.items():
        (in_tmp / path).parent.mkdir(exist_ok=True)
        (in_tmp / path).write_text(text)
    config = {"_target_": "lookback.data.gait.Gait", "deep": [{"file": "own/gait.csv"}]}
    config |= {"folder": "parts", "text": "no file", "long": "x" * 5000, "empty": "", "null": "\0"}
    assert input_files(config) == {
        "own/gait.csv": hashlib.sha256(b"1").hexdigest(),
        "parts/a.csv": hashlib.sha256(b"2").hexdigest(),
    }


def test_a_folder_of_a_task_with_a_link_to_itself_is_named(in_tmp):
    for path in ("own/l1", "own/l2"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).symlink_to(".")
    with pytest.raises(UserError, match=r"^own/l1, a folder of a task, is a link to a folder that"):
        input_files({"folder": "own"})


def test_links_to_other_folders_and_dead_links_are_no_mistake(in_tmp):
    for folder in ("own", "other"):
        Path(folder).mkdir()
    Path("other/a.csv").write_text("1")
    for name, goal in (("l1", "../other"), ("l2", "../other"), ("dead", "x"), ("self", "self")):
        Path("own", name).symlink_to(goal)
    assert list(input_files({"folder": "own"})) == ["own/l1/a.csv", "own/l2/a.csv"]


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["not listed", "not entered"])
def test_a_folder_of_a_task_that_cannot_be_read_is_named(in_tmp, mode):
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    Path("own/inner").mkdir(parents=True)
    Path("own/inner/a.csv").write_text("1")
    Path("own/inner").chmod(mode)
    try:
        with pytest.raises(UserError, match=r"^own/inner, a folder of a task, cannot be read: Per"):
            input_files({"folder": "own"})
    finally:
        Path("own/inner").chmod(0o755)


def test_data_in_a_folder_without_modules_belongs_to_the_package_above_it(in_tmp):
    for part in ("src", "workflow"):
        shutil.copytree(ROOT / part, in_tmp / part, ignore=shutil.ignore_patterns("__pycache__"))
    words = in_tmp / "src/lookback/data/tables/words.txt"
    words.parent.mkdir()
    found = []
    for text in ("one", "two"):
        words.write_text(text)
        found.append(fingerprints(take(in_tmp)).of(["lookback.data.adding"]))
    different = {name for name in found[0] if found[0][name] != found[1][name]}
    assert different == {"lookback/data/tables/words.txt"}


def test_a_receipt_has_no_password_in_its_name():
    assert "s3cret" not in receipt_of("postgresql://me:s3cret@db/mlflow?sslmode=require")
    assert receipt_of("sqlite:///results/mlflow.db").startswith("sqlite_results_mlflow.db-")


def test_stores_with_different_addresses_have_different_receipts_and_a_new_password_keeps_its():
    assert receipt_of("sqlite:///a/b.db") != receipt_of("sqlite:///a_b.db")
    assert receipt_of("http://me:one@host") == receipt_of("http://me:two@host")
    assert receipt_of("http://me:one@host") != receipt_of("http://you:one@host")
