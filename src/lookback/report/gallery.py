"""The gallery of explanations shows the same few test sequences for all models and explainers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.report.inputs import ReportInputs
from lookback.report.numbers import number
from lookback.storage.provenance import plans_of
from lookback.storage.tables import read_npz

SEQUENCES = 3  # number of test sequences per task, from the start of the test split


def sequences(inputs: ReportInputs, task: str) -> Iterator[pd.DataFrame]:
    """Yield one table per test sequence, with the attributions of the study's first seed.

    The module figures/explanations.py draws each table.
    """
    archives = dict(_archives(inputs, task))
    if not archives:
        return
    first, seed = next(iter(archives.values())), inputs.study["seeds"][0]
    models = pd.CategoricalDtype(list(inputs.study["models"]), ordered=True)
    for index in range(min(SEQUENCES, len(first["inputs"]))):
        frames = [_long(first, first["inputs"][index], index)]
        for (model, explainer), archive in archives.items():
            if index < len(archive["inputs"]):
                place = list(archive["seeds"]).index(seed)
                rows = _long(archive, archive["values"][place, index], index)
                answer = _answer_text(archive["prediction"][place, index])
                frames.append(rows.assign(model=model, explainer=explainer, answer=answer))
        title = f"{task}, test sequence {index}, target {_answer_text(first['target'][index])}"
        yield pd.concat(frames, ignore_index=True).assign(title=title).astype({"model": models})


def _archives(inputs: ReportInputs, task: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield the up-to-date attributions of each model and explainer, in the order of the study."""
    for model in inputs.study["models"]:
        expected = inputs.document["cells"][f"{task}/{model}"]["explain"]
        for explainer in inputs.study["explainers"]:
            path = inputs.paths.cell(task, model).attributions(explainer)
            archive = _current(path, expected[explainer])
            if archive and inputs.study["seeds"][0] in archive["seeds"]:
                yield (model, explainer), archive


def _current(path: Path, plans: dict[str, str]) -> dict[str, Any] | None:
    """The arrays of an attribution file, or None if it is missing, outdated or not applicable."""
    if not path.exists() or plans_of(path) != plans:
        return None
    archive = read_npz(path)
    return archive if "values" in archive else None


def _long(archive: dict[str, Any], values: NDArray[Any], index: int) -> pd.DataFrame:
    """Convert an array (step, feature) of one sequence to a table with one row per entry.

    Steps after the end of the sequence are left out. The column `evidence` is False at all steps if
    the file does not store the evidence.
    """
    length = int(archive["lengths"][index])
    steps, features = np.indices(values[:length].shape)
    known = archive.get("evidence")
    evidence = np.zeros(length, bool) if known is None else known[index, :length]
    return pd.DataFrame(
        {
            "model": None,
            "explainer": None,
            "answer": None,
            "step": steps.ravel(),
            "feature": features.ravel(),
            "value": values[:length].ravel(),
            "evidence": evidence[steps.ravel()],
        }
    )


def _answer_text(value: Any) -> str:
    """Format a class as its number, and a real value with three significant digits."""
    return str(value) if np.issubdtype(np.asarray(value).dtype, np.integer) else number(value)
