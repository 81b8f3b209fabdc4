"""Check the settings of a study before any job runs.

The error message for an unknown key or value suggests the nearest valid choice. The JSON schemas in
workflow/schemas/ define the keys of studies, recipes and trainers, and the bounds of numbers. The
constructor of each `_target_` class defines the keys of a model, task, probe or explainer. The
constructor's parameters are read from the source code, because importing the class would import
torch.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from lookback.errors import LONGEST, UserError, nearest, shortened
from lookback.planning.constructor_signatures import NotFound, Parameter, signature_of
from lookback.planning.names import REQUIREMENT, is_name
from lookback.storage.paths import PROJECT

SCHEMAS = PROJECT / "workflow" / "schemas"
# Constructor arguments that the code passes itself, so YAML files must not set them.
PASSED_BY_CODE = {"features", "params", "fused"}
PASSED_TO_ENCODER = PASSED_BY_CODE | {"hidden_size"}  # to a class inside a model, `_partial_: true`
# Model settings that lookback removes before it calls the constructor of the model.
REMOVED_BY_CODE = {"embedding_size"}
LARGEST = 2**63 - 1  # the largest integer of a tensor, of a Parquet file and of a database


def check_options(what: str, names: Sequence[str], choices: Sequence[str], where: str) -> None:
    """Raise UserError if one of `names` is not among `choices`."""
    for name in names:
        if name not in choices:
            raise UserError(
                f"{what} '{shortened(name)}' is not in {where}.\n{did_you_mean(name, choices)}"
            )


def check_settings(config: Mapping[str, Any], group: str, where: str) -> None:
    """Check `config` against workflow/schemas/<group>.schema.yaml, if this schema exists.

    Raises UserError if `config` contains a number that is not finite or too large, even if there is
    no schema. Raises UserError if `config` violates the schema. If there are several violations,
    the error message describes only one of them.
    """
    check_numbers(config, where)
    schema = _schema(group)
    if schema is None:
        return
    errors = list(_validator(schema).iter_errors(config))
    if errors:
        # If a required key is misspelt, report the unknown key rather than the missing key.
        first = min(errors, key=lambda e: (e.validator == "required", list(map(str, e.path))))
        raise UserError(f"{where}: {_sentence(first)}")


def check_numbers(node: Any, where: str, at: str = "") -> None:
    """Raise UserError if a number in `node` is not finite, or is too large for 64 bits.

    `at` is the dotted path of `node` in its file.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            check_numbers(value, where, f"{at}.{key}" if at else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            check_numbers(value, where, f"{at}.{index}" if at else str(index))
    elif isinstance(node, float) and not math.isfinite(node):
        raise UserError(
            f"{where}: '{at}' cannot be {node}; it should be a finite number, at most 1.8e308."
        )
    elif isinstance(node, int) and abs(node) > LARGEST:
        raise UserError(
            f"{where}: '{at}' cannot be an integer of {node.bit_length()} bits; it should be "
            f"between -{LARGEST} and {LARGEST}."
        )


def _validator(schema: Any) -> Any:
    """A validator of jsonschema for which 16.0 is not an integer, and which knows `format: name`.

    JSON does not distinguish 16.0 and 16, but Python does: 16.0 cannot be the size of a tensor.
    """
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend

    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    formats = FormatChecker(formats=())
    formats.checks("name")(is_name)
    validator: Any = extend(Draft202012Validator, type_checker=types)  # type: ignore[no-untyped-call]
    return validator(schema, format_checker=formats)


@cache
def _schema(group: str) -> Any:
    path = SCHEMAS / f"{group}.schema.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def keys_of(group: str) -> list[str]:
    """The keys that the schema of `group` lists."""
    return list(_schema(group)["properties"])


# For each JSON-schema keyword, the phrase that an error message uses for its requirement.
REQUIREMENTS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minLength": "a text of at least {} character",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "minProperties": "a mapping of at least {}",
    "maxProperties": "a mapping of at most {}",
    "type": "of type {}",
    "format": REQUIREMENT,
    "pattern": "of the form {}",
    "not": "a name other than {}",
    "uniqueItems": "a list without repeated entries",
}


def _sentence(error: Any) -> str:
    """Turn a validation error of the package jsonschema into the text of an error message."""
    at = ".".join(map(str, error.absolute_path))
    wanted = error.validator_value
    if error.validator == "anyOf":
        # The schema allows several types here. Report the error for the type that the user wrote.
        same_type = [e for e in error.context if e.validator != "type" or e.relative_path]
        if same_type:
            return _sentence(max(same_type, key=lambda e: len(e.absolute_path)))
        wanted = [branch["type"] for branch in wanted]
    if error.validator == "not":
        wanted = wanted["enum"]
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        inside = f" in '{at}'" if at else ""
        return f"there is no key '{shortened(unknown)}'{inside}.\n{did_you_mean(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in wanted if key not in error.instance)
        return f"the key '{missing}' is missing{f' in {at!r}' if at else ''}."
    if error.validator == "enum":
        choices = list(map(str, wanted))
        return (
            f"'{at}' cannot be {_shown(error.instance)}.\n{did_you_mean(error.instance, choices)}"
        )
    text = " or ".join(wanted) if isinstance(wanted, list) else wanted
    requirement = REQUIREMENTS.get(error.validator, "of type {}").format(text)
    subject = f"'{at}'" if at else "the whole file"
    return f"{subject} cannot be {_shown(error.instance)}; it should be {requirement}."


def check_target(config: Any, where: str) -> None:
    """Check the keys beside each `_target_` in `config` against the parameters of its class.

    Raises UserError if the class does not exist, if a key is unknown or missing, or if a value has
    the wrong type.
    """
    for at, node in _targets(config, ""):
        target = node["_target_"]
        if not isinstance(target, str) or not _is_dotted(target):
            raise UserError(
                f"{where}: '{at}_target_' cannot be {_shown(target)}; it should be the dotted name "
                "of a class, such as 'lookback.models.gru.GRU'."
            )
        try:
            parameters = signature_of(target)
        except NotFound as error:
            raise UserError(
                f"{where}: '{at}_target_: {target}': there is no {error.what} '{error.word}'.\n"
                + did_you_mean(error.word, error.choices)
            ) from error
        if parameters is not None:
            _check_arguments(node, parameters, at, where)


def _is_dotted(target: str) -> bool:
    """Whether a text has at least two parts, of which each could be the name of a file."""
    parts = target.split(".")
    return len(parts) > 1 and all(0 < len(it) <= LONGEST and "\0" not in it for it in parts)


def _targets(node: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dotted path and the content of each mapping inside `node` that has a key `_target_`."""
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
    passed = PASSED_TO_ENCODER if at and node.get("_partial_") else PASSED_BY_CODE
    for key, value in node.items():
        if key in REMOVED_BY_CODE or (key.startswith("_") and key.endswith("_")):
            continue
        parameter = parameters.get(key)
        if parameter is None:
            known = sorted(set(parameters) - passed)
            raise UserError(
                f"{where}: there is no key '{shortened(at + key)}'.\n{did_you_mean(key, known)}"
            )
        if key in passed:
            raise UserError(
                f"{where}: '{at}{key}' cannot be set, because lookback sets it. Remove the key."
            )
        _check_value(value, parameter, f"{at}{key}", where)
    required = {name for name, parameter in parameters.items() if parameter.required}
    missing = sorted(required - set(node) - passed, key=list(parameters).index)
    if missing and not node.get("_partial_"):
        raise UserError(f"{where}: the key '{at}{missing[0]}' is missing.")


def _check_value(value: Any, parameter: Parameter, at: str, where: str) -> None:
    """Raise UserError if a parameter of a constructor does not take `value`."""
    if parameter.choices and value not in parameter.choices:
        raise UserError(
            f"{where}: '{at}' cannot be {_shown(value)}.\n"
            + did_you_mean(value, list(map(str, parameter.choices)))
        )
    if parameter.types and not _fits(value, parameter.types):
        wanted = " or ".join(sorted(parameter.types))
        raise UserError(
            f"{where}: '{at}' cannot be {_shown(value)}; it should be of type {wanted}."
        )
    if parameter.entries and not (
        isinstance(value, list) and value and all(_fits(it, parameter.entries) for it in value)
    ):
        wanted = " or ".join(sorted(parameter.entries))
        raise UserError(
            f"{where}: '{at}' cannot be {_shown(value)}; it should be a list of at least 1 "
            f"value of type {wanted}."
        )


def _fits(value: Any, types: frozenset[str]) -> bool:
    """Whether `value` has one of the types named in `types`. An integer also counts as a float."""
    names = {
        bool: {"bool"},
        int: {"int", "float"},
        float: {"float"},
        str: {"str"},
        type(None): {"None"},
    }
    return bool(names.get(type(value), set()) & types)


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=str))


def did_you_mean(word: Any, choices: Sequence[str]) -> str:
    """The line of an error message that suggests the nearest choice and lists all choices."""
    if not choices:
        return "There are no valid choices."
    near = nearest(str(word), choices)
    question = f"Did you mean '{near}'? " if near else ""
    return f"{question}Valid choices: {', '.join(choices)}."
