"""The explanation gallery: the same few test sequences, seen by every model and explainer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.report.inputs import ReportInputs
from lookback.report.result_tables import number
from lookback.storage.provenance import plans_of
from lookback.storage.tables import read_npz

SEQUENCES = 3  # of each task: the first of the test split


def sequences(material: ReportInputs, task: str) -> Iterator[pd.DataFrame]:
    """The frame that figures/explanations.py draws, of each sequence; of the study's first seed."""
    archives = dict(_archives(material, task))
    if not archives:
        return
    some, seed = next(iter(archives.values())), material.study["seeds"][0]
    models = pd.CategoricalDtype(list(material.study["models"]), ordered=True)
    for index in range(min(SEQUENCES, len(some["inputs"]))):
        frames = [_long(some, some["inputs"][index], index)]
        for (model, explainer), archive in archives.items():
            if index < len(archive["inputs"]):
                place = list(archive["seeds"]).index(seed)
                own = _long(archive, archive["values"][place, index], index)
                answer = _said(archive["prediction"][place, index])
                frames.append(own.assign(model=model, explainer=explainer, answer=answer))
        title = f"{task}, test sequence {index}, target {_said(some['target'][index])}"
        together = pd.concat(frames, ignore_index=True)
        yield together.assign(title=title).astype({"model": models})


def _archives(
    material: ReportInputs, task: str
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """The attributions that count, by model and explainer, in the study's order."""
    for model in material.study["models"]:
        expected = material.document["cells"][f"{task}/{model}"]["explain"]
        for explainer in material.study["explainers"]:
            path = material.paths.cell(task, model).attributions(explainer)
            archive = _current(path, expected[explainer])
            if archive and material.study["seeds"][0] in archive["seeds"]:
                yield (model, explainer), archive


def _current(path: Path, plans: dict[str, str]) -> dict[str, Any] | None:
    """The arrays of an archive that is there, of these plans, and applies."""
    if not path.exists() or plans_of(path) != plans:
        return None
    archive = read_npz(path)
    return archive if "values" in archive else None


def _long(archive: dict[str, Any], values: NDArray[Any], index: int) -> pd.DataFrame:
    """Values (T, F) of a sequence as rows, within its length, with its evidence where known."""
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


def _said(value: Any) -> str:
    """A class by its number, a value in three digits."""
    return str(value) if np.issubdtype(np.asarray(value).dtype, np.integer) else number(value)
