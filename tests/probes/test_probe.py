import pandas as pd
import torch

from lookback.errors import NotApplicable
from lookback.probes import probe
from lookback.storage.provenance import plans_of
from lookback.storage.tables import read_parquet
from tests.cells import GRU, MARKED, PLANS, write_cell, write_plan


class Draws:
    """A probe that says which random numbers it got, and refuses one seed."""

    def measure(self, run, *, generator):
        if run.seed == 4:
            raise NotApplicable("four is refused")
        return pd.DataFrame({"drawn": torch.rand(2, generator=generator).numpy()})


def test_the_table_holds_each_seeds_rows_or_its_reason_and_names_its_plans(tmp_path):
    cell = write_cell(tmp_path, MARKED, GRU, seeds=(3, 4, 5))
    plan = write_plan(tmp_path, "probe", "probe", {"_target_": f"{__name__}.Draws"})
    out = cell / "probe" / "draws.parquet"
    probe.main(plan, cell, out)

    frame = read_parquet(out)
    assert frame.seed.tolist() == [3, 3, 4, 5, 5]
    assert frame.reason.dropna().to_dict() == {2: "four is refused"}
    expected = torch.rand(2, generator=torch.Generator().manual_seed(5)).tolist()
    assert frame.drawn[3:].tolist() == expected
    assert plans_of(out) == {**PLANS, "probe": plan.stem}


def test_gradient_flow_as_shipped_writes_the_same_table_twice(tmp_path):
    cell = write_cell(tmp_path, MARKED, GRU)
    config = {"_target_": "lookback.probes.gradient_flow.GradientFlow", "sequences": 256}
    config["jacobian_steps"] = 20
    plan = write_plan(tmp_path, "probe", "probe", config)
    for name in ("once", "twice"):
        probe.main(plan, cell, cell / f"{name}.parquet")
    once, twice = (read_parquet(cell / f"{name}.parquet") for name in ("once", "twice"))
    pd.testing.assert_frame_equal(once, twice)
    assert set(once.seed) == {0, 1}
    assert once.log_norm.notna().all()
    assert "reason" not in once
