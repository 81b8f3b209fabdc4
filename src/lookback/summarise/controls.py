"""Can a task tell explainers apart? The best explainer of each model beside the controls.

A control is an attribution that explains nothing, such as the size of the inputs
(explain/controls.py). The gain of an attribution is its score minus the score of a random
attribution. If the gain of a control is at least NEAR times the gain of the best explainer, the
score does not show that the explainer is right. If the gain of the evidence itself is smaller than
NEAR times the gain of the best explainer, the score does not measure whether an explainer finds the
evidence.
"""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lookback.summarise.cells import CellResults, Row

NEAR = 0.9
KNOW_NOTHING = ("position", "magnitude", "untrained")
VALUES = ("value", "chance", *KNOW_NOTHING, "oracle", "share")
COLUMNS = {"task": "str", "model": "str", "score": "str", "explainer": "str"}
COLUMNS |= dict.fromkeys(VALUES, "float64")
COLUMNS |= {"near": "str", "oracle_is_best": "bool"}


def beside_controls(cells: Iterable[CellResults], explainers: Iterable[str]) -> Iterator[Row]:
    """Yield one row for each task, model and score, with the best explainer and the controls."""
    names = list(explainers)
    for cell in cells:
        frames = {
            name: frame
            for name in names
            if (frame := cell.measured("explain", name, cell.paths.scores(name))[0]) is not None
        }
        yield from (cell.name | row for row in best_rows(frames))


def best_rows(frames: Mapping[str, pd.DataFrame]) -> Iterator[Row]:
    """Yield one row for each score of one model, from the scores of each explainer and seed.

    `explainer` is the explainer with the largest mean gain over seeds. The controls «position» and
    «untrained» are those of the explainer for which they score best. `near` names the best control
    if it comes near the best explainer, and is empty otherwise or if no explainer has a gain.
    """
    if not frames:
        return
    everything = pd.concat(frames, names=["explainer"]).reset_index("explainer")
    for score, rows in everything.groupby("score", sort=False):
        means = rows.groupby("explainer", sort=False)[list(VALUES)].mean()
        gains = means["value"] - means["chance"]
        if gains.isna().all():
            continue
        best = str(gains.idxmax())
        numbers = {name: float(means[name][best]) for name in VALUES}
        numbers |= {name: float(means[name].max()) for name in KNOW_NOTHING}
        chance, gain = numbers["chance"], numbers["value"] - numbers["chance"]
        control = max(KNOW_NOTHING, key=numbers.__getitem__)
        is_near = gain > 0 and numbers[control] - chance >= NEAR * gain
        is_best = not numbers["oracle"] - chance < NEAR * gain
        named = {"score": score, "explainer": best, "near": control if is_near else ""}
        yield {**numbers, **named, "oracle_is_best": is_best}
