"""The shipped configs of the behavioural probes, through their stage and into a summary's rows."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from lookback.probes import probe
from lookback.storage.cell_paths import CellPaths
from lookback.storage.tables import read_parquet
from lookback.summarise.cells import CellResults
from tests.cells import GRU, PLANS, write_cell, write_plan
from tests.models.cases import shipped

CONF = Path(__file__).parents[2] / "conf" / "probe"
ADDING = {
    "_target_": "lookback.data.adding.Adding",
    "length": 12,
    "train": 30,
    "validation": 5,
    "test": 20,
    "seed": 0,
    "fresh": False,
}
LEARNED = shipped("transformer", positions="learned", longest=30)


@pytest.mark.parametrize(
    ("name", "model", "lacks"),
    [
        ("recall_by_lag", GRU, []),
        ("effective_context", GRU, []),
        ("length_generalisation", GRU, []),
        ("length_generalisation", LEARNED, ["at 4 × 12 steps", "at 10 × 12 steps"]),
        ("attention_distance", LEARNED, []),
        ("attention_distance", GRU, ["GRU has no attention"]),
    ],
)
def test_a_probe_as_shipped_writes_the_same_rows_twice_and_names_what_it_lacks(
    tmp_path, name, model, lacks
):
    cell = write_cell(tmp_path, ADDING, model)
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    plan = write_plan(tmp_path, "probe", "probe", config)
    for out in (f"probe/{name}.parquet", "twice.parquet"):
        probe.main(plan, cell, cell / out)
    once = read_parquet(cell / "probe" / f"{name}.parquet")
    pd.testing.assert_frame_equal(once, read_parquet(cell / "twice.parquet"))

    expected = {"train": PLANS, "probe": {name: {**PLANS, "probe": plan.stem}}}
    own = CellResults("adding", "model", CellPaths(cell), expected, frozenset({0, 1}))
    frame, holes = own.measured("probe", name, own.paths.probe(name))
    said = [hole.reason.removeprefix("does not apply: ") for hole in holes]
    assert len(said) == len(lacks)
    assert all(reason.startswith(why) for reason, why in zip(said, lacks, strict=True))
    if name == "attention_distance" and lacks:
        assert frame is None
    else:
        assert frame.notna().all(axis=None)
        assert set(frame.seed) == {0, 1}
