"""Find the figure module of a probe, and get the figure's caption and findings from it."""

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import pandas as pd

from lookback.report.inputs import ReportInputs

CITATION = re.compile(r"\[([a-z]+)(\d{4}[a-z]?)\]")


def figure_module(name: str) -> ModuleType | None:
    """The module that draws the figure of probe `name`, or None if there is no such module."""
    path = f"lookback.report.figures.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def caption(module: ModuleType) -> str:
    """The caption of a figure module, which is its constant CAPTION or else its docstring.

    A citation such as «[elman1990]» is printed as «[Elman 1990]».
    """
    text = getattr(module, "CAPTION", None) or inspect.cleandoc(module.__doc__ or "")
    return CITATION.sub(lambda key: f"[{key[1].capitalize()} {key[2]}]", " ".join(text.split()))


def of_task(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of one task."""
    return frame[frame["task"] == task]


def findings(inputs: ReportInputs, task: str) -> Iterator[str]:
    """Yield one sentence on a task for each probe whose figure module has a function `finding`."""
    for name, frame in inputs.probes.items():
        finding = getattr(figure_module(name), "finding", None)
        if finding and len(rows := of_task(frame, task)):
            yield finding(rows)
