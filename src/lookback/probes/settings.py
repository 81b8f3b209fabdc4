"""What a probe's settings may be, checked before it measures."""

from lookback.errors import UserError


def require_positive(**settings: int) -> None:
    """Raise UserError where one of them is below 1."""
    for name, value in settings.items():
        if value < 1:
            raise UserError(f"The probe's `{name}` is {value}. Make it 1 or more.")
