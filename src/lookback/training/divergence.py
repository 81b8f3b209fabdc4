"""Reports that the training of a seed diverged because a loss is infinite or NaN."""

import math
from collections.abc import Sequence

from lookback.errors import Diverged
from lookback.training.module import Update


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
