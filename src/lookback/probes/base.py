"""What a probe is: one Python file and one YAML in conf/probe/."""

from typing import Protocol, runtime_checkable

import pandas as pd
import torch

from lookback.training.run import Run


@runtime_checkable  # so that the test run can check it
class Probe(Protocol):
    """A long-range measurement on a trained run."""

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One observation a row, named columns, no seed column (the stage adds it).

        Raises NotApplicable where the probe makes no sense for the run's model.
        """
