"""The stage `probe`: one probe on every run of a cell, into one table."""

from pathlib import Path

import pandas as pd
import torch

from lookback.errors import NotApplicable
from lookback.probes.base import Probe
from lookback.runtime import cpu_time
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import read_json
from lookback.storage.tables import write_parquet
from lookback.training.run import Run, load_runs


def main(plan: Path, cell: Path, out: Path) -> None:
    """Measure the probe that `plan` names on the runs of `cell`; writes the table `out`.

    The table has the probe's columns after `seed`. Where the probe does not apply to a run, the
    run has one row that says so in the column `reason`.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    probe: Probe = instantiate(read_json(plan)["probe"])
    runs = list(load_runs(cell))
    with cpu_time.work():
        frame = pd.concat([measured(probe, run) for run in runs], ignore_index=True)
    write_parquet(out, frame, {**runs[0].plans, "probe": plan.stem})


def measured(probe: Probe, run: Run) -> pd.DataFrame:
    """What the probe found, or why it does not apply, with the run's seed."""
    try:
        frame = probe.measure(run, generator=torch.Generator().manual_seed(run.seed))
    except NotApplicable as reason:
        frame = pd.DataFrame({"reason": [str(reason)]})
    frame.insert(0, "seed", run.seed)
    return frame
