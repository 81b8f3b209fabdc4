"""Check the settings that a constructor receives from a config."""

from lookback.errors import UserError

# The largest seed of a run, as in workflow/schemas/study.schema.yaml. Training multiplies a seed by
# a million, and the result must fit in the 64 bits of torch's random generators.
LARGEST_SEED = 2**32 - 1


def require_positive(owner: str, **settings: int) -> None:
    """Raise UserError if one of `settings` is below 1.

    The error message names `owner`, such as «model» or «probe», as the owner of the setting.
    """
    for name, value in settings.items():
        if value < 1:
            raise UserError(f"The {owner}'s `{name}` is {value}. Make it 1 or more.")
