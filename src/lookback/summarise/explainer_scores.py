"""The scores of all explainers, and the best explainer of each model for each score.

A score is a mean over seeds and over the explained test sequences, which all seeds share. The
scores with evidence take right answers only. Two explainers are compared on the same answers.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.cells import CellResults, Explained, Row
from lookback.summarise.controls import VALUES
from lookback.summarise.crossed_intervals import interval_of, paired_winner

WITHOUT_SKILL = "the model did not beat the trivial baseline: it learned nothing to explain"
OF_ALL_ANSWERS = "deletion"  # the score that takes wrong answers, too
# Means over seeds of the scores of attributions that explain nothing, and of the gap.
MEANS = (*VALUES[1:], "gap", "wide")


def scores(
    cells: list[CellResults], explainers: Iterable[str], skilled: pd.Series, missing: list[Row]
) -> Iterator[Row]:
    """Yield the scores of all explainers, one row per task, model, explainer and score.

    If an explainer has no scores for a model on a task, one row says why there are no scores.
    `skilled` says for each task and model whether the model beat the trivial baseline. A model that
    did not has no scores. Missing scores are appended to `missing`.
    """
    names = list(explainers)
    for cell in cells:
        measured = {}
        for explainer in names:
            explained, holes = cell.explained(explainer)
            missing += [cell.name | hole._asdict() for hole in holes]
            if explained is not None and skilled[cell.task, cell.model]:
                measured[explainer] = explained
            else:
                reason = "; ".join(hole.reason for hole in holes)
                reason = WITHOUT_SKILL if explained is not None else reason
                empty = {"score": "", "best": False, "seeds": 0, "reason": reason}
                yield cell.name | {"explainer": explainer} | empty
        yield from (cell.name | row for row in spreads(measured))


def spreads(measured: Mapping[str, Explained]) -> Iterator[Row]:
    """Yield the mean of each score, its interval, and the scores of the controls.

    `measured` holds what each explainer found for one model. `best` marks the explainer whose
    lead on each other explainer is certain. A seed without a right answer has no score with
    evidence; `seeds` is the number of seeds that have a score.
    """
    if not measured:
        return
    frames = {name: explained.scores for name, explained in measured.items()}
    everything = pd.concat(frames, names=["explainer"]).reset_index("explainer")
    for score, part in everything.groupby("score", sort=False):
        rows = dict(iter(part.groupby("explainer", sort=False)))
        values = {
            str(name): values_of(measured[str(name)].arrays, str(score), of["seed"])
            for name, of in rows.items()
        }
        best = paired_winner(pd.DataFrame(values))
        for explainer, of_explainer in rows.items():
            of_answers = values[str(explainer)]
            spread = interval_of(of_answers)._asdict()
            row = {"explainer": explainer, "score": score, **spread, "best": explainer == best}
            row |= dict(of_explainer.reindex(columns=list(MEANS)).mean())
            seeds = of_answers.dropna().index.get_level_values("seed").nunique()
            yield row | {"seeds": seeds, "reason": ""}


def values_of(arrays: Mapping[str, NDArray[Any]], score: str, seeds: Iterable[int]) -> pd.Series:
    """The score of each explained answer of some seeds, with the index levels seed and sequence.

    The score of a wrong answer is NaN if the score takes right answers only.
    """
    values = arrays[score].astype(np.float64)
    if score != OF_ALL_ANSWERS:
        values = np.where(arrays["is_right"], values, np.nan)
    levels = (arrays["seeds"], range(values.shape[1]))
    rows = pd.MultiIndex.from_product(levels, names=["seed", "sequence"])
    of_answers = pd.Series(values.ravel(), rows)
    return of_answers[rows.isin(list(seeds), level="seed")]
