"""What a study may say, checked before anything runs, each mistake with the nearest right thing.

Two sources of truth, neither written twice: workflow/schemas/ (keys and bounds of what has no code
of its own) and the signature of each `_target_`, read from its syntax tree, since importing it
would import torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from lookback.errors import UserError, nearest
from lookback.planning.signatures import NotFound, Parameter, signature_of
from lookback.storage.paths import PROJECT

SCHEMAS = PROJECT / "workflow" / "schemas"
GIVEN = {"features", "params"}  # arguments that we pass, not the YAML
TAKEN = {"embedding_size"}  # settings that we take out before a model is built


def check_options(what: str, said: Sequence[str], choices: Sequence[str], where: str) -> None:
    """Raise a UserError where one of `said` is not among `choices`."""
    for word in said:
        if word not in choices:
            raise UserError(f"{what} '{word}' is not in {where}.\n{did_you_mean(word, choices)}")


def check_settings(config: Mapping[str, Any], group: str, where: str) -> None:
    """Hold `config` against workflow/schemas/<group>.schema.yaml. Raises UserError."""
    from jsonschema import Draft202012Validator

    schema = _schema(group)
    if schema is None:
        return
    errors = list(Draft202012Validator(schema).iter_errors(config))
    if errors:
        # A misspelt key is also a missing one: the former says more.
        first = min(errors, key=lambda e: (e.validator == "required", list(map(str, e.path))))
        raise UserError(f"{where}: {_sentence(first)}")


@cache
def _schema(group: str) -> Any:
    path = SCHEMAS / f"{group}.schema.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


# What jsonschema's rules ask, in words.
ASKED = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minItems": "a list of at least {}",
    "minProperties": "a mapping of at least {}",
    "maxProperties": "a mapping of at most {}",
    "type": "of type {}",
    "uniqueItems": "a list that names nothing twice",
}


def _sentence(error: Any) -> str:
    """One sentence for a jsonschema error."""
    at = ".".join(map(str, error.absolute_path))
    wanted = error.validator_value
    if error.validator == "anyOf":
        # The branch whose type fits is the one that was meant.
        fitting = [e for e in error.context if e.validator != "type" or e.relative_path]
        if fitting:
            return _sentence(max(fitting, key=lambda e: len(e.absolute_path)))
        wanted = [branch["type"] for branch in wanted]
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        inside = f" in '{at}'" if at else ""
        return f"there is no key '{unknown}'{inside}.\n{did_you_mean(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in wanted if key not in error.instance)
        return f"the key '{missing}' is missing{f' in {at!r}' if at else ''}."
    if error.validator == "enum":
        choices = list(map(str, wanted))
        return (
            f"'{at}' cannot be {_shown(error.instance)}.\n{did_you_mean(error.instance, choices)}"
        )
    text = " or ".join(wanted) if isinstance(wanted, list) else wanted
    asked = ASKED.get(error.validator, "of type {}").format(text)
    return f"'{at}' cannot be {_shown(error.instance)}; it should be {asked}."


def check_target(config: Any, where: str) -> None:
    """Hold each `_target_` in `config` against the signature of what it names. Raises UserError."""
    for at, node in _targets(config, ""):
        try:
            parameters = signature_of(node["_target_"])
        except NotFound as error:
            raise UserError(
                f"{where}: '_target_: {node['_target_']}' names no {error.what}.\n"
                + did_you_mean(error.word, error.choices)
            ) from error
        if parameters is not None:
            _check_arguments(node, parameters, at, where)


def _targets(node: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield at, node
        for key, value in node.items():
            yield from _targets(value, f"{at}{key}.")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{at}{index}.")


def _check_arguments(
    node: Mapping[str, Any], parameters: Mapping[str, Parameter], at: str, where: str
) -> None:
    for key, value in node.items():
        if key in TAKEN or (key.startswith("_") and key.endswith("_")):
            continue
        parameter = parameters.get(key)
        if parameter is None:
            known = sorted(set(parameters) - GIVEN)
            raise UserError(f"{where}: there is no key '{at}{key}'.\n{did_you_mean(key, known)}")
        if parameter.choices and value not in parameter.choices:
            raise UserError(
                f"{where}: '{at}{key}' cannot be {_shown(value)}.\n"
                + did_you_mean(value, list(map(str, parameter.choices)))
            )
        if parameter.types and not _fits(value, parameter.types):
            wanted = " or ".join(sorted(parameter.types))
            raise UserError(
                f"{where}: '{at}{key}' cannot be {_shown(value)}; it should be {wanted}."
            )
    absent = [p for p, it in parameters.items() if it.required and p not in node and p not in GIVEN]
    if absent and not node.get("_partial_"):
        raise UserError(f"{where}: the key '{at}{absent[0]}' is missing.")


def _fits(value: Any, types: frozenset[str]) -> bool:
    names = {
        bool: {"bool"},
        int: {"int", "float"},
        float: {"float"},
        str: {"str"},
        type(None): {"None"},
    }
    return type(value) not in names or bool(names[type(value)] & types)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def did_you_mean(word: Any, choices: Sequence[str]) -> str:
    """The nearest of `choices`, and all there are."""
    found = nearest(str(word), choices)
    there = f"There is: {', '.join(choices) or 'nothing'}."
    return f"Did you mean '{found}'? {there}" if found else there
