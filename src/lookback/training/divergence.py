"""Reports that the training of a seed diverged.

The training diverged if a loss is infinite or NaN. It also diverged if the selected weights have a
squared error far above that of the baseline. Whether an explosion reaches infinity depends on the
length of the run, so both cases are treated alike: the seed is left out of all means, and it is
counted and named as diverged. A mean over seeds would otherwise be the error of this one seed. The
limit is fixed here, before any result is known. Overfitting does not reach the limit: a network
that repeats targets at random has twice the error of the baseline. A cross-entropy has no such
limit, because a network can be right and yet very sure of its few wrong answers.
"""

import math
from collections.abc import Sequence

from lookback.data.task import Facts, Split
from lookback.errors import Diverged
from lookback.training.evaluate import Scores
from lookback.training.module import Update

# The training diverged if its squared error is more than this multiple of the baseline's.
EXPLODED = 100.0


def first_not_finite(losses: Sequence[float]) -> int:
    """The index in `losses` of the first loss that is infinite or NaN.

    The function is called if the mean of the losses is infinite or NaN. The mean can overflow
    although every loss is finite. If every loss is finite, the result is the last index.
    """
    are_finite = [math.isfinite(loss) for loss in losses]
    return are_finite.index(False) if False in are_finite else len(are_finite) - 1


def diverged(name: str, loss: float, step: int, last_update: Update | None) -> Diverged:
    """The exception that reports an infinite or NaN loss at the optimiser step `step`.

    `last_update` is the last update whose loss was finite, or None before the first update.
    """
    if last_update is None:
        cause = ", before any update"
    else:
        norm = float(last_update.gradient_norm)
        cause = (
            f", after an update of learning rate {last_update.learning_rate:.3g} and gradient norm "
            f"{norm:.3g}"
        )
    return Diverged(f"the {name} became {loss} at step {step}{cause}")


def require_sound(scores: Scores, split: Split, facts: Facts) -> None:
    """Raise Diverged if the scores of the selected weights on a data split are those of a failure.

    The loss must be finite. The mean squared error must be at most `EXPLODED` times the baseline's.
    """
    if not math.isfinite(scores.loss):
        raise Diverged(f"the {split} loss of the selected weights is {scores.loss}")
    if facts.metric == "mse" and facts.baseline and scores.metric > EXPLODED * facts.baseline:
        raise Diverged(
            f"the {split} error of the selected weights is {scores.metric:.3g}, "
            f"{scores.metric / facts.baseline:.3g} times the error of the baseline"
        )
