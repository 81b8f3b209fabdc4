"""Can a task tell explainers apart? The best explainer of each model beside the controls.

A control is an attribution that explains nothing, such as the size of the inputs
(explain/controls.py). The gain of an attribution is its score minus the score of a random
attribution. If the gain of a control is at least NEAR times the gain of the best explainer, the
score does not show that the explainer is right. If the gain of the evidence itself is smaller than
NEAR times the gain of the best explainer, the score does not measure whether an explainer finds the
evidence.
"""

from collections.abc import Iterator

import pandas as pd

from lookback.summarise.cells import Row

NEAR = 0.9
KNOW_NOTHING = ("position", "magnitude", "untrained")
VALUES = ("value", "chance", *KNOW_NOTHING, "oracle", "share")
COLUMNS = {"task": "str", "model": "str", "score": "str", "explainer": "str"}
COLUMNS |= dict.fromkeys(VALUES, "float64")
COLUMNS |= {"near": "str", "oracle_is_best": "bool"}


def beside_controls(scores: pd.DataFrame) -> Iterator[Row]:
    """Yield one row for each task, model and score, with the best explainer and the controls.

    `scores` is the table of the scores of all explainers (explainer_scores.py). A model without
    skill has no scores in it, and so no row here.

    `explainer` is the explainer with the largest gain. The controls «position» and «untrained» are
    those of the explainer for which they score best. `near` names the best control if it comes near
    the best explainer, and is empty otherwise or if no explainer has a gain.
    """
    scored = scores[scores["mean"].notna()].rename(columns={"mean": "value"})
    for (task, model, score), rows in scored.groupby(["task", "model", "score"], sort=False):
        means = rows.set_index("explainer")[list(VALUES)]
        best = str((means["value"] - means["chance"]).idxmax())
        numbers = {name: float(means[name][best]) for name in VALUES}
        numbers |= {name: float(means[name].max()) for name in KNOW_NOTHING}
        chance, gain = numbers["chance"], numbers["value"] - numbers["chance"]
        control = max(KNOW_NOTHING, key=numbers.__getitem__)
        is_near = gain > 0 and numbers[control] - chance >= NEAR * gain
        is_best = not numbers["oracle"] - chance < NEAR * gain
        named = {"task": task, "model": model, "score": score, "explainer": best}
        yield {**numbers, **named, "near": control if is_near else "", "oracle_is_best": is_best}
