"""Interface of a probe.

Each probe consists of one Python file in this folder and one YAML file in conf/probe/.
"""

from typing import Protocol, runtime_checkable

import pandas as pd
import torch

from lookback.training.run import Run


@runtime_checkable  # The tests need this decorator to check types by isinstance().
class Probe(Protocol):
    """A measurement on a trained model, for example of how long the model remembers its inputs."""

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Measure one trained model and return a table with one row per observation.

        All random numbers of the measurement come from `generator`. The returned table has no
        column `seed`, because probe.py adds this column.

        Raises NotApplicable if the measurement has no meaning for the model or for the task.
        """
