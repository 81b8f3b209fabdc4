"""Compose a study from the YAML files in conf/, with the settings of each cell of the study.

A cell is one pair of a task and a model. This module and its imports must not import torch, because
importing torch would delay Snakemake's main process by seconds.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.planning.names import BY_HAND, check_name, check_names
from lookback.planning.options import Options
from lookback.planning.overrides import Override, parse
from lookback.planning.study_options import (
    candidates,
    check_trainer,
    match_of,
    published_of,
    tune_of,
)
from lookback.planning.unused_settings import notices_of
from lookback.planning.validate_settings import check_options, check_settings, did_you_mean
from lookback.storage.atomic import digest
from lookback.storage.secrets import HIDDEN, VARIABLE, redacted

DEFAULT_STUDY = "quick"
COMMAND_LINE = "the command line"  # source of an override, as named in error messages
CELL_GROUPS = ("task", "model", "recipe", "trainer")  # the settings of a cell
CellKey = tuple[str, str]  # task name, model name


@dataclass(frozen=True)
class CellConfig:
    """The settings of one cell (a task and a model), with all overrides applied."""

    task: Mapping[str, Any]
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    trainer: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A grid of tasks × models × seeds, with the probes and explainers to run on each cell."""

    name: str
    question: str  # the comment at the top of the study's YAML file
    overrides: tuple[str, ...]  # given at the command line
    seeds: tuple[int, ...]
    cells: Mapping[CellKey, CellConfig]
    probes: Mapping[str, Mapping[str, Any]]
    explainers: Mapping[str, Mapping[str, Any]]
    tracking: Mapping[str, Any]
    published: tuple[Mapping[str, Any], ...] = ()
    match: Mapping[str, Any] | None = None  # params, tolerance
    tune: Mapping[str, Any] | None = None  # values to try, number of trials, budget of each trial
    notices: tuple[str, ...] = ()  # sentences on settings that have no effect


@dataclass(frozen=True)
class _Variant:
    """A task or model of a study, with its option in conf/ (`base`) and its overrides."""

    name: str
    base: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class _CellRequest:
    """The options and overrides of one task and one model.

    If two overrides change the same key, the later override applies.
    """

    options: Mapping[str, str]  # by group
    overrides: tuple[Override, ...]


def compose_study(conf: Path, name: str, overrides: Sequence[str] = ()) -> Study:
    """Compose the study `name` from the folder `conf`, and apply Hydra overrides to it.

    Raises UserError for an unknown name, key or value. The error message suggests the nearest
    valid choice.
    """
    _refuse_secrets(overrides, COMMAND_LINE)
    options = Options(conf)
    check_options("the study", [name], options.names("study"), "conf/study/")
    check_name("study", name, f"conf/study/{name}.yaml")
    path = conf / "study" / f"{name}.yaml"
    settings = options.study(name)
    for override in [parse(text, COMMAND_LINE) for text in overrides]:
        if override.group == "study":
            override.apply_to(settings)
    return _compose(options, name, settings, question_of(path), tuple(overrides))


def compose_by_hand(
    conf: Path, task: str, model: str, seed: int, overrides: Sequence[str]
) -> Study:
    """A study with one training run, for the command `lookback train task=… model=…`.

    The name of the study is a digest of the settings, so that two runs with different settings
    write into different folders.

    Raises UserError for an unknown name, key or value. The error message suggests the nearest
    valid choice.
    """
    _refuse_secrets(overrides, COMMAND_LINE)
    settings = {"tasks": [task], "models": [model], "seeds": [seed]}
    study = _compose(Options(conf), BY_HAND, settings, "One run by hand.", tuple(overrides))
    trained = {name: getattr(study.cells[task, model], name) for name in CELL_GROUPS}
    configuration = json.dumps([seed, trained], sort_keys=True)
    return replace(study, name=f"{BY_HAND}-{digest(configuration)[:8]}")


def _compose(
    options: Options, name: str, settings: dict[str, Any], question: str, overrides: tuple[str, ...]
) -> Study:
    """Check the settings of a study, and compose its tasks, models, probes and explainers."""
    where = f"study '{name}'"
    check_settings(settings, "study", where)
    expanded = {group: _expanded(settings[group], where) for group in ("tasks", "models")}
    settings = {**settings, **expanded}
    check_settings(settings, "study", where)  # the values that `each` gives
    for group in ("task", "model", "probe", "explainer"):
        check_names(group, settings.get(f"{group}s", ()), where)
    _refuse_secrets(_override_texts(settings), where)
    requests = _cell_requests(settings, overrides, where)
    options.compose(_wanted_options(settings, requests), where)
    cells = {key: _cell(options, request) for key, request in requests.items()}
    count = settings["seeds"]
    seeds = tuple(range(count) if isinstance(count, int) else count)
    groups_of_cells = {"/".join(key): vars(config) for key, config in cells.items()}
    tune = tune_of(settings, groups_of_cells, seeds, where)
    for key, config in cells.items():
        check_trainer(config.trainer, tune, where)
        _check_trials(options, requests[key], tune, where)
    shared = _shared_overrides(settings, overrides, where)
    return Study(
        name=name,
        question=question,
        overrides=overrides,
        seeds=seeds,
        cells=cells,
        probes=_measurements(options, "probe", settings.get("probes", []), shared),
        explainers=_measurements(options, "explainer", settings.get("explainers", []), shared),
        tracking=options.with_overrides("tracking", _option(settings, "tracking"), shared),
        published=tuple(published_of(options.folder, settings.get("published", []), where)),
        match=match_of(settings, {model: it.model for (_, model), it in cells.items()}, where),
        tune=tune,
        notices=notices_of(options.folder, cells),
    )


def _override_texts(settings: Mapping[str, Any]) -> list[str]:
    """The texts of all overrides of a study, of its tasks and of its models."""
    variants = (*_variants(settings["tasks"]), *_variants(settings["models"]))
    of_variants = [text for variant in variants for text in variant.overrides]
    return [*settings.get("overrides", []), *of_variants]


def _refuse_secrets(overrides: Sequence[str], where: str) -> None:
    """Raise UserError if an override sets a tracking URI with a password, token or other secret.

    Overrides are stored in the plans and shown in the report. The check reads the text, so that no
    later error message quotes the secret.
    """
    for text in map(str, overrides):
        key, _, value = text.partition("=")
        without_variables = re.sub(r"\$\{[^}]*\}", HIDDEN, value.strip("'\""))
        if "tracking" in key and redacted(without_variables) != without_variables:
            raise UserError(
                f"{where}: '{key}' sets a URI with a password or a token, which would be readable "
                f"in the plans and in the report.\nSet the environment variable {VARIABLE} "
                "instead, or write the URI in a file of conf/tracking/ with ${oc.env:NAME} in "
                "place of the secret."
            )


def _option(settings: Mapping[str, Any], group: str) -> str:
    """The option that a study chooses for the group `group`, or the default option of the group."""
    return str(settings.get(group, {"tracking": "local"}.get(group, "default")))


def _cell_requests(
    settings: Mapping[str, Any], overrides: Sequence[str], where: str
) -> dict[CellKey, _CellRequest]:
    """The options and overrides of each pair of a task and a model of a study.

    If several overrides change the same key, the command line has priority over the model, the
    model over the task, and the task over the study.
    """
    models = _variants(settings["models"])
    return {
        (task.name, model.name): _cell_request(settings, task, model, overrides, where)
        for task in _variants(settings["tasks"])
        for model in models
    }


def _cell_request(
    settings: Mapping[str, Any],
    task: _Variant,
    model: _Variant,
    overrides: Sequence[str],
    where: str,
) -> _CellRequest:
    ordered = (
        *(parse(text, where) for text in (*settings.get("overrides", []), *task.overrides)),
        *(_override_of_model(model, parse(text, where)) for text in model.overrides),
        *(parse(text, COMMAND_LINE) for text in overrides),
    )
    chosen = {group: _option(settings, group) for group in ("recipe", "trainer")}
    chosen |= {
        override.group: override.choice for override in ordered if override.choice is not None
    }
    return _CellRequest({"task": task.base, "model": model.base, **chosen}, ordered)


def _variants(entries: Sequence[str] | Mapping[str, Any]) -> list[_Variant]:
    """The variants in a study's `tasks` or `models`, which is a list of names or a mapping."""
    if not isinstance(entries, Mapping):
        return [_Variant(name, name, ()) for name in entries]
    return [
        _Variant(
            name, (variant or {}).get("base", name), tuple((variant or {}).get("overrides", ()))
        )
        for name, variant in entries.items()
    ]


def _expanded(
    entries: Sequence[str] | Mapping[str, Any], where: str
) -> Sequence[str] | Mapping[str, Any]:
    """Replace each entry that has the key `each` by one entry per combination of its values.

    The entry
    `gru_{width}: {base: gru, each: {width: [8, 64]}, overrides: ["model.hidden_size={width}"]}`
    is replaced by the two entries gru_8 and gru_64.
    Raises UserError if two entries get the same name, or if a placeholder has no values.
    """
    if not isinstance(entries, Mapping):
        return entries
    expanded: dict[str, Any] = {}
    for template, variant in entries.items():
        if not isinstance(template, str):
            raise UserError(
                f"{where}: YAML reads the name {json.dumps(template)} as a "
                f"{type(template).__name__}. Write the name in quotes."
            )
        each = (variant or {}).get("each", {})
        for values in itertools.product(*each.values()):
            texts = {str(key): _text(value) for key, value in zip(each, values, strict=True)}
            name = _filled(template, texts)
            if (each and "{" in name) or name in expanded:
                raise UserError(
                    f"{where}: '{template}' with 'each' {json.dumps(each)} gives the name '{name}'"
                    f"{', twice' if name in expanded else ''}.\n"
                    "Write every key of 'each' in braces in the name: 'gru_{width}' with "
                    "'each: {width: [8, 64]}'."
                )
            expanded[name] = variant and {
                key: [_filled(text, texts) for text in setting]
                if key == "overrides"
                else _filled(setting, texts)
                for key, setting in variant.items()
                if key != "each"
            }
    return expanded


def _text(value: Any) -> str:
    """A value of `each` as it is written in an override: null, true, 0.5, or a string."""
    return value if isinstance(value, str) else json.dumps(value)


def _filled(template: str, texts: Mapping[str, str]) -> str:
    """The template with each `{key}` of `texts` replaced by its text, in one pass."""
    if not texts:
        return template
    placeholders = "|".join(re.escape(f"{{{key}}}") for key in texts)
    return re.sub(placeholders, lambda match: texts[match[0][1:-1]], template)


def _override_of_model(model: _Variant, override: Override) -> Override:
    """Check an override of one model, and return the override unchanged.

    Raises UserError if the override of one model changes a setting that all models share.
    """
    if override.group not in ("model", "recipe", "trainer"):
        cure = (
            "Make a variant of the task under 'tasks' instead."
            if override.group == "task"
            else "Write it under 'overrides' of the study instead."
        )
        raise UserError(
            f"{override.where}: model '{model.name}' has the override '{override.shown}', but the "
            f"{override.group} is the same for all models.\n{cure}"
        )
    return override


def _wanted_options(
    settings: Mapping[str, Any], requests: Mapping[CellKey, _CellRequest]
) -> set[tuple[str, str]]:
    """All options, as (group, name), that the study or one of its overrides chooses."""
    wanted = {("probe", name) for name in settings.get("probes", [])}
    wanted |= {("explainer", name) for name in settings.get("explainers", [])}
    wanted |= {(group, _option(settings, group)) for group in ("recipe", "trainer", "tracking")}
    for request in requests.values():
        wanted |= set(request.options.items())
        wanted |= {(o.group, o.choice) for o in request.overrides if o.choice is not None}
    return wanted


def _shared_overrides(
    settings: Mapping[str, Any], overrides: Sequence[str], where: str
) -> list[Override]:
    """The overrides of the study and the command line, without overrides of a task or model."""
    of_study = [parse(text, where) for text in settings.get("overrides", [])]
    return of_study + [parse(text, COMMAND_LINE) for text in overrides]


def _cell(options: Options, request: _CellRequest, *extra: Override) -> CellConfig:
    """The checked settings of a cell. The overrides in `extra` are applied last."""
    overrides = [*request.overrides, *extra]
    return CellConfig(
        **{
            group: options.with_overrides(group, request.options[group], overrides)
            for group in CELL_GROUPS
        }
    )


def _check_trials(
    options: Options, request: _CellRequest, tune: Mapping[str, Any] | None, where: str
) -> None:
    """Raise UserError if the checks of settings refuse a value that tuning would try."""
    for trial in _trial_overrides(tune, where):
        try:
            _cell(options, request, trial)
        except UserError as mistake:
            raise UserError(f"{where}: 'tune' cannot try {trial.shown}.\n{mistake}") from None


def _trial_overrides(tune: Mapping[str, Any] | None, where: str) -> Iterator[Override]:
    """One override for each value that tuning may try.

    A range gives three overrides, for its lowest, middle and highest value.
    """
    for dotted_key, choices in (tune["values"] if tune else {}).items():
        group, *keys = dotted_key.split(".")
        for value in candidates(dotted_key, choices, where):
            text = f"{dotted_key}={json.dumps(value)}"
            yield Override(text, where, group, tuple(keys), value, None, False, False)


def _measurements(
    options: Options, group: str, names: Sequence[str], overrides: Sequence[Override]
) -> dict[str, dict[str, Any]]:
    """The settings of a study's probes or explainers, by name.

    An override such as `probe.gradient_flow.sequences=64` changes one probe. Raises UserError if
    the study does not run the probe or explainer that an override names.
    """
    of_group = [override for override in overrides if override.group == group]
    for override in of_group:
        if override.keys[0] not in names:
            raise UserError(
                f"{override.where}: '{override.shown}' changes {group} '{override.keys[0]}', which "
                "the study does not run.\n" + did_you_mean(override.keys[0], names)
            )
        if len(override.keys) == 1:
            raise UserError(
                f"{override.where}: '{override.shown}' replaces the whole {group}.\n"
                f"Change one setting: '{group}.{override.keys[0]}.<key>=…'."
            )
    return {
        name: options.with_overrides(
            group, name, [o.without_first_key() for o in of_group if o.keys[0] == name]
        )
        for name in names
    }


def question_of(path: Path) -> str:
    """The comment at the top of a YAML file, without its first words «conf/study/NAME.yaml — »."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(lines)
    return re.sub(r"^conf/\S+\.yaml\s*[—–-]\s*", "", text)
