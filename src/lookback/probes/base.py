"""Interface of a probe. Each probe is one Python file here and one YAML file in conf/probe/."""

from typing import Protocol, runtime_checkable

import pandas as pd
import torch

from lookback.training.run import Run


@runtime_checkable  # The type checks of the test run call isinstance(probe, Probe).
class Probe(Protocol):
    """A long-range measurement on a trained run."""

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Measure one run and return a table with named columns, one row per observation.

        All random numbers come from `generator`. The table has no column `seed`, because the stage
        `probe` adds the seed.

        Raises NotApplicable if the probe makes no sense for the model or the task of the run.
        """
