"""How a probe is shown: by the figure module of its name, or else by a table of means."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from types import ModuleType

import pandas as pd

from lookback.report.inputs import ReportInputs


def figure_module(name: str) -> ModuleType | None:
    """The module that draws the probe `name`; None where there is none."""
    path = f"lookback.report.figures.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def caption(module: ModuleType) -> str:
    """What a figure shows: the module's first lines."""
    return " ".join(inspect.cleandoc(module.__doc__ or "").split())


def of_task(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of one task."""
    return frame[frame["task"] == task]


def findings(material: ReportInputs, task: str) -> Iterator[str]:
    """What the probes found on a task, one sentence each, of those that say it."""
    for name, frame in material.probes.items():
        finding = getattr(figure_module(name), "finding", None)
        if finding and len(own := of_task(frame, task)):
            yield finding(own)
