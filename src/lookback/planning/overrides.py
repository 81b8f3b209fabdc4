"""Hydra overrides taken apart: which setting of which group they change, and to what.

They are laid on copies of composed options, so that a key that does not exist is answered with the
nearest one.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lookback.errors import UserError
from lookback.planning.validation import did_you_mean

GROUPS = ("task", "model", "recipe", "trainer", "probe", "explainer", "tracking", "study")


@dataclass(frozen=True)
class Override:
    """One Hydra override, split: `trainer.max_epochs=2`, `recipe=chrono`, `~model.dropout`."""

    text: str
    where: str
    group: str
    keys: tuple[str, ...]  # below the group; empty for a choice
    value: Any
    choice: str | None
    adds: bool
    deletes: bool

    def below(self) -> "Override":
        """The same change, seen from one key further down."""
        return replace(self, keys=self.keys[1:])

    def lay_on(self, config: dict[str, Any]) -> None:
        """Change `config` in place. Raises UserError where the key is not there."""
        node: Any = config
        for depth, key in enumerate(self.keys):
            last = depth == len(self.keys) - 1
            if not isinstance(node, dict) or (key not in node and not (last and self.adds)):
                known = list(node) if isinstance(node, dict) else []
                if last and self.group == "study":
                    break  # a study's keys have their own schema, which knows those not yet said
                at = ".".join((self.group, *self.keys[:depth]))
                raise UserError(
                    f"{self.where}: '{self.text}' changes '{key}', which {at} does not have.\n"
                    + did_you_mean(f"{at}.{key}", [f"{at}.{name}" for name in known])
                )
            if last:
                break
            node = node[key]
        if self.deletes:
            node.pop(self.keys[-1], None)
        else:
            node[self.keys[-1]] = self.value


@cache
def parse(text: str, where: str) -> Override:
    """Split an override by Hydra's own grammar. Raises UserError where it has another form."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(str(text))
    except HydraException as error:
        raise UserError(
            f"{where}: '{text}' is not an override: {first_line(error)}.\n"
            "Write it like 'trainer.max_epochs=2' or 'recipe=tutorial'."
        ) from error
    group, *keys = parsed.key_or_group.split(".")
    if group not in GROUPS:
        raise UserError(
            f"{where}: '{text}' begins with '{group}', which is no group of conf/.\n"
            + did_you_mean(group, GROUPS)
        )
    if parsed.is_sweep_override():
        raise UserError(
            f"{where}: '{text}' is a sweep. A study sweeps by its own grid: name a variant under "
            "'models' or 'tasks' for each value."
        )
    value = None if parsed.is_delete() else parsed.value()
    if not keys and group not in ("recipe", "trainer"):
        raise UserError(
            f"{where}: '{text}' chooses a whole {group}; a study names its {group}s under "
            f"'{group}s'. To change a setting write '{group}.<key>=…'."
        )
    choice = None if keys else str(value)
    return Override(
        str(text), where, group, tuple(keys), value, choice, parsed.is_add(), parsed.is_delete()
    )


def first_line(error: Exception) -> str:
    """What an error says first."""
    return str(error).strip().splitlines()[0]
