"""Stage `probe`: applies one probe to all trained networks of one model and writes one table."""

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
    """Apply the probe of the plan file `plan` to every trained network in the folder `cell`.

    The function writes one table to the Parquet file `out`. The first column of the table is
    `seed`, and the other columns come from the probe. If the probe does not apply to a trained
    network, the table has one row for this network, and the column `reason` says why.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    probe: Probe = instantiate(read_json(plan)["probe"])
    runs = list(load_runs(cell))
    with cpu_time.work():
        frame = pd.concat([measure_run(probe, run) for run in runs], ignore_index=True)
    write_parquet(out, frame, {**runs[0].plans, "probe": plan.stem})


def measure_run(probe: Probe, run: Run) -> pd.DataFrame:
    """Table of the probe for one trained network, or one row if the probe does not apply.

    The first column of the returned table is `seed`.
    """
    try:
        frame = probe.measure(run, generator=torch.Generator().manual_seed(run.seed))
    except NotApplicable as error:
        frame = pd.DataFrame({"reason": [str(error)]})
    frame.insert(0, "seed", run.seed)
    return frame
