"""What a plan reaches: every `_target_`, and every file beside the code."""

import shutil

from lookback.plan import _targets, receipt_of
from lookback.snapshot import fingerprints, take
from tests.conftest import ROOT


def test_a_target_in_a_list_is_reached_too():
    config = {"blocks": [{"_target_": "lookback.models.gru.GRU"}, {"deep": [{"_target_": "a.B"}]}]}
    assert list(_targets(config)) == ["lookback.models.gru"]


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
