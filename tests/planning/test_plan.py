"""What a plan reaches: every `_target_`, and every file beside the code."""

import shutil
from pathlib import Path

from lookback.planning.code_copy import take
from lookback.planning.code_fingerprints import fingerprints
from lookback.planning.libraries import versions_of
from lookback.planning.plan import make, receipt_of
from lookback.planning.study import compose_study
from lookback.planning.targets import foreign_packages, own_targets
from lookback.storage.atomic import read_json
from tests.conftest import ROOT


def test_a_target_in_a_list_is_reached_too():
    config = {"blocks": [{"_target_": "lookback.models.gru.GRU"}, {"deep": [{"_target_": "a.B"}]}]}
    assert list(own_targets(config)) == ["lookback.models.gru"]


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
    assert {"torch", "numpy", "pytorch-lightning", "pandas"} <= found[1]
    assert not {"optuna", "captum", "mlflow", "matplotlib"} & found[1]
    assert "mlflow" in found[2]


def test_a_target_of_another_library_counts_by_the_name_it_is_installed_under():
    config = {"optimizer": {"_target_": "sklearn.linear_model.SGDClassifier"}}
    assert list(foreign_packages(config)) == ["sklearn"]
    assert list(versions_of(frozenset({"sklearn"}))) == ["scikit-learn"]


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
    assert receipt_of("sqlite:///results/mlflow.db") == "sqlite_results_mlflow.db"
