"""Parse Hydra overrides, such as `trainer.max_epochs=2`, and apply them to composed options.

Hydra's own error message for an unknown key suggests no valid key. The error message of
`Override.apply_to` suggests the nearest valid key.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from lookback.errors import UserError, nearest, shortened
from lookback.planning.constructor_signatures import NotFound, signature_of
from lookback.planning.validate_settings import did_you_mean, keys_of

GROUPS = ("task", "model", "recipe", "trainer", "probe", "explainer", "tracking", "study")
SPACED = re.compile(r"\s*([^\s=]+)\s*=\s*(.*)", re.DOTALL)  # `key = value`
# A value in which a second override follows without a comma
SECOND = re.compile(rf"\s[~+]*({'|'.join(GROUPS)})(\.[\w.]+)?=")


@dataclass(frozen=True)
class Override:
    """A parsed override such as `trainer.max_epochs=2`, `recipe=chrono` or `~model.dropout`."""

    text: str  # as the user wrote it
    where: str  # source of the override: a study or the command line
    group: str
    # The path of the changed key in the group. The path is empty if the override chooses an option.
    keys: tuple[str, ...]
    value: Any
    choice: str | None  # the option that the override chooses: «chrono» in `recipe=chrono`
    adds: bool  # whether the override may add new keys: `+key=value` or `++key=value`
    deletes: bool  # whether the override deletes the key: `~key`

    @property
    def shown(self) -> str:
        """The text of the override for an error message, without the end of a long text."""
        return shortened(self.text)

    def without_first_key(self) -> "Override":
        """A copy of the override without the first key of its path.

        The copy can be applied to the mapping to which the first key leads.
        """
        return replace(self, keys=self.keys[1:])

    def apply_to(self, config: dict[str, Any]) -> None:
        """Apply the override to `config` in place. Raises UserError if `config` lacks the key.

        An override with + or ++ adds the key, and each missing mapping on the path to the key.
        """
        node = config
        for depth, key in enumerate(self.keys[:-1]):
            if key not in node and not self.adds:
                raise self._unknown_key(node, depth)
            if not isinstance(node.get(key), dict):
                if not self.adds:
                    raise self._unknown_key(node.get(key), depth + 1)
                node[key] = {}
            node = node[key]
        last = self.keys[-1]
        # An override may add any key to a study. The schema checks the key later.
        if last not in node and not self.adds and self.group != "study":
            raise self._unknown_key(node, len(self.keys) - 1)
        if self.deletes:
            node.pop(last, None)
        else:
            node[last] = self.value

    def _unknown_key(self, node: Any, depth: int) -> UserError:
        """The error for the key at `depth` of the path, which the value `node` does not have."""
        parent, key = ".".join((self.group, *self.keys[:depth])), self.keys[depth]
        return UserError(
            f"{self.where}: '{self.shown}' changes '{shortened(key)}', which {parent} does not "
            "have.\n" + self._cure(node, depth)
        )

    def _cure(self, node: Any, depth: int) -> str:
        """The advice if `node`, at this depth of the path, does not have the next key.

        A constructor may accept a key that its YAML does not contain. Such a key needs a `+`.
        """
        parent, key = ".".join((self.group, *self.keys[:depth])), self.keys[depth]
        is_last = depth == len(self.keys) - 1
        if not isinstance(node, dict):
            if not is_last:
                return f"{parent} is {shortened(json.dumps(node))}, which has no keys."
            mapping = f"{parent}={{{key}: {self.shown.partition('=')[2]}}}"
            return (
                f"{parent} is {shortened(json.dumps(node))}, which has no keys. Write '{mapping}'."
            )
        if is_last and not self.deletes and key in _arguments(node):
            return f"To add the key to {parent}, write '+{self.shown}'."
        known = [f"{parent}.{name}" for name in node if not name.startswith("_")]
        return did_you_mean(f"{parent}.{key}", known)


@cache
def parse(text: str, where: str) -> Override:
    """Parse the text of an override with Hydra's parser.

    A list or a mapping that Hydra cannot parse is read as YAML, as in a study's file, for example
    `study.overrides=[recipe.clip=null]`. Raises UserError if the text is not an override, or if its
    group does not exist. Raises UserError if the override is a Hydra sweep over several values, or
    if the override replaces a whole group (only recipe and trainer can be replaced).
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if spaced := SPACED.fullmatch(text):
        text = f"{spaced[1]}={spaced[2]}"
    try:
        text.encode()  # a locale without UTF-8 reads other characters as halves of a character
        key, equals, written = text.partition("=")
        try:
            parsed = OverridesParser.create().parse_override(text)
            value = None if parsed.is_delete() else parsed.value()
        except HydraException:
            if not equals:
                raise ValueError("it has no '='") from None
            value = _from_yaml(written)
            parsed = OverridesParser.create().parse_override(f"{key}=null")
    except (HydraException, ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: '{shortened(text)}' is not an override: {first_line(error)}.\n"
            + _advice(text)
        ) from error
    group, *keys = parsed.key_or_group.split(".")
    if group not in GROUPS:
        raise UserError(
            f"{where}: '{shortened(text)}' begins with '{shortened(group)}', which is not a "
            "group of conf/.\n" + _nearest_group(group, keys)
        )
    if parsed.is_sweep_override():
        raise UserError(
            f"{where}: '{shortened(text)}' is a sweep, which an override cannot be.\n"
            "To compare several values, give the study one variant per value under 'models' or "
            "'tasks'."
        )
    if not keys and group not in ("recipe", "trainer"):
        raise UserError(
            f"{where}: '{shortened(text)}' replaces the whole {group}, which an override cannot "
            "do.\n" + _cure(group)
        )
    choice = None if keys else str(value)
    adds = parsed.is_add() or parsed.is_force_add()
    return Override(text, where, group, tuple(keys), value, choice, adds, parsed.is_delete())


def _from_yaml(text: str) -> Any:
    """The list or the mapping that a text is in YAML. Raises ValueError if it is neither."""
    from omegaconf import OmegaConf

    if not text.startswith(("[", "{")):
        raise ValueError("its value is neither a word, a number, a list nor a mapping")
    try:
        return OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[call-overload, index]
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"its value cannot be read as a list or a mapping ({problem})") from error


def _advice(text: str) -> str:
    """What to write instead of a text that is not an override."""
    key, equals, value = text.partition("=")
    if text.startswith("["):
        return "It is a list inside the list of overrides: remove its outer brackets."
    if not equals:
        return (
            "It needs '=' between key and value, as in 'trainer.max_epochs=2'. A list of values "
            "needs brackets: 'study.models=[rnn, gru]'."
        )
    if SECOND.search(value):
        return "Separate two overrides with a comma: '[trainer.max_epochs=2, recipe.clip=null]'."
    if re.search(r"[\[\](){};,\"']", value):
        return (
            f"Write a list as '{key}=[a, b]', a mapping as '{key}={{name: value}}', and quotes "
            "around a text with other signs."
        )
    return "Write it like 'trainer.max_epochs=2' or 'recipe=tutorial'."


def _nearest_group(word: str, keys: Sequence[str]) -> str:
    """The advice for an override that begins with `word`, which may be a key of a study."""
    names = {} if keys else {key: f"study.{key}" for key in keys_of("study")}
    names |= {group: group for group in GROUPS if keys or group in ("recipe", "trainer")}
    near = nearest(word, names)
    question = f"Did you mean '{names[near]}'? " if near else ""
    return f"{question}Valid choices: {', '.join(names.values())}."


def _cure(group: str) -> str:
    """The advice in the error message for an override that replaces a whole group."""
    if group == "study":
        return "Choose the study with `--config study=NAME`."
    if group == "tracking":
        return "Name it in the study, 'tracking: NAME', or write 'study.tracking=NAME'."
    return (
        f"List each {group} under '{group}s' in the study, or change one setting: "
        f"'{group}.<key>=…'."
    )


def _arguments(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of the constructor that `node` names, or none if it cannot be read."""
    target = node.get("_target_")
    try:
        return signature_of(target) or {} if isinstance(target, str) else {}
    except (NotFound, OSError, ValueError):  # check_target names the mistake
        return {}


def first_line(error: Exception) -> str:
    """The first line of the message of an error, cut if it is long."""
    return shortened(str(error).strip().splitlines()[0])
