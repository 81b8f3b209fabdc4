"""Checks of the sizes and the dropout that a model's constructor receives."""

from lookback.errors import UserError
from lookback.runtime.settings import require_positive


def require_heads(hidden_size: int, heads: int) -> None:
    """Raise UserError if `hidden_size` is not a multiple of `heads`, or if either is below 1."""
    require_positive("model", hidden_size=hidden_size, heads=heads)
    if hidden_size % heads:
        raise UserError(
            f"The model's `hidden_size` {hidden_size} is not a multiple of its {heads} heads. "
            f"Make it {-(-hidden_size // heads) * heads}, or change `heads`."
        )


def require_dropout(dropout: float, *, between: int | None = None, name: str = "dropout") -> None:
    """Raise UserError unless 0 ≤ `dropout` < 1. A dropout of 1 would set all values to zero.

    `name` is the name of the setting in the error message.

    If dropout acts only between layers, the argument `between` is the number of layers. In a model
    with one layer, such dropout would have no effect, so a nonzero `dropout` raises UserError.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"The model's `{name}` is {dropout}. Make it 0 or more and less than 1.")
    if dropout and between == 1:
        raise UserError(
            f"The model has one layer and a dropout of {dropout}, but dropout acts between "
            "layers only. Set the model's `dropout` to 0, or its `layers` to 2 or more."
        )
