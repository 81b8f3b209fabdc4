"""Checks of settings that a config gives to a constructor."""

from lookback.errors import UserError


def require_positive(owner: str, **settings: int) -> None:
    """Raise UserError if a setting of the `owner` («model», «probe») is below 1."""
    for name, value in settings.items():
        if value < 1:
            raise UserError(f"The {owner}'s `{name}` is {value}. Make it 1 or more.")
