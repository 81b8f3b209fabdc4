"""The sizes that a constructor can take, checked at its door."""

from lookback.errors import UserError
from lookback.runtime.settings import require_positive


def require_heads(hidden_size: int, heads: int) -> None:
    """Raise UserError where `hidden_size` cannot be shared out evenly among `heads`."""
    require_positive("model", hidden_size=hidden_size, heads=heads)
    if hidden_size % heads:
        raise UserError(
            f"The model's `hidden_size` {hidden_size} cannot be shared out among "
            f"{heads} heads. Make it {-(-hidden_size // heads) * heads}, or change `heads`."
        )


def require_dropout(dropout: float, *, between: int | None = None) -> None:
    """Raise UserError where it is no share, or acts between `between` layers of which there is one.

    A dropout of 1 would leave nothing.
    """
    if not 0 <= dropout < 1:
        raise UserError(f"The model's `dropout` is {dropout}. Make it 0 or more and less than 1.")
    if dropout and between == 1:
        raise UserError(
            f"A model of one layer has dropout {dropout}, which acts between layers only. "
            "Set the model's `dropout` to 0, or its `layers` to 2 or more."
        )
