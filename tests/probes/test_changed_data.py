"""No stage after training measures other data than the networks were trained on."""

import pytest
import yaml

from lookback.errors import UserError
from lookback.explain import explain
from lookback.probes import probe
from tests.cells import GRU, write_cell, write_plan
from tests.conftest import ROOT
from tests.models.cases import shipped

ADDING = {"_target_": "lookback.data.adding.Adding", "length": 12, "seed": 0, "fresh": False}
ADDING |= {"train": 30, "validation": 5, "test": 20}
ATTENTION = shipped("transformer", positions="learned", longest=30)
STAGES = [
    (stage, name, path.stem)
    for stage, name, folder in (("probe", "probe", "probe"), ("explain", "explainer", "explainer"))
    for path in sorted((ROOT / "conf" / folder).glob("*.yaml"))
]


@pytest.mark.parametrize(("stage", "name", "option"), STAGES)
def test_changed_data_are_refused_by_every_stage_that_measures(tmp_path, stage, name, option):
    model = ATTENTION if "attention" in option else GRU
    cell = write_cell(tmp_path, ADDING, model, seeds=(0,))
    config = yaml.safe_load((ROOT / "conf" / name / f"{option}.yaml").read_text(encoding="utf-8"))
    plan = write_plan(tmp_path, stage, name, config)
    measure = {"probe": probe.main, "explain": explain.main}[stage]
    changed = yaml.safe_load((cell / "config.yaml").read_text())
    changed["task"]["seed"] = 1  # as if the file of the data had other content
    (cell / "config.yaml").write_text(yaml.safe_dump(changed))
    with pytest.raises(UserError, match=r"test split .* differs from the prepared split"):
        measure(plan, cell, cell / stage / "measured.npz")
    assert not (cell / stage / "measured.npz").exists()
