"""Check the settings that a constructor receives from a config."""

from lookback.errors import UserError


def require_positive(owner: str, **settings: int) -> None:
    """Raise UserError if one of `settings` is below 1.

    The error message names `owner`, such as «model» or «probe», as the owner of the setting.
    """
    for name, value in settings.items():
        if value < 1:
            raise UserError(f"The {owner}'s `{name}` is {value}. Make it 1 or more.")
