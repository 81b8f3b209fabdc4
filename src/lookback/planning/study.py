"""A study composed from conf/: which tasks, models and seeds, and what each cell is made of.

Light: it runs where Snakemake plans, so neither this module nor what it imports may import torch.
Hydra composes the options, each in a package of its own, in one call (a call costs 57 ms).
Overrides are laid on copies, so that a key that does not exist is answered with the nearest one.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lookback.errors import UserError
from lookback.planning.overrides import Override, first_line, parse
from lookback.planning.study_options import (
    candidates,
    check_trainer,
    match_of,
    published_of,
    tune_of,
)
from lookback.planning.validation import check_options, check_settings, check_target, did_you_mean

DEFAULT_STUDY = "quick"


@dataclass(frozen=True)
class CellConfig:
    """What one cell is made of, resolved."""

    task: Mapping[str, Any]
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    trainer: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A grid of tasks × models × seeds, with the probes and explainers to run."""

    name: str
    question: str  # the comment that the study's YAML begins with
    overrides: tuple[str, ...]  # given at the command line
    seeds: tuple[int, ...]
    cells: Mapping[tuple[str, str], CellConfig]  # by task and model
    probes: Mapping[str, Mapping[str, Any]]
    explainers: Mapping[str, Mapping[str, Any]]
    tracking: Mapping[str, Any]
    published: tuple[Mapping[str, Any], ...] = ()
    match: Mapping[str, Any] | None = None  # params, tolerance
    tune: Mapping[str, Any] | None = None  # values by dotted key, trials, budget


@dataclass(frozen=True)
class _Variant:
    """A name in a study, the option it stands for, and what it changes."""

    name: str
    base: str
    overrides: tuple[str, ...]


@dataclass
class _Conf:
    """The folder conf/ and what Hydra has composed from it."""

    folder: Path
    options: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    laid: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)  # cells share most

    def names(self, group: str) -> list[str]:
        return sorted(path.stem for path in (self.folder / group).glob("*.yaml"))

    def require(self, group: str, name: str, where: str) -> None:
        """Raise a UserError where conf/<group>/<name>.yaml is not there."""
        if name not in self.names(group):
            raise UserError(
                f"{where} asks for {group} '{name}', which is not in conf/{group}/.\n"
                + did_you_mean(name, self.names(group))
            )

    def compose(self, wanted: set[tuple[str, str]]) -> None:
        """Compose all options in one call."""
        from hydra import compose, initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf import OmegaConf

        keys = {f"option{i}": key for i, key in enumerate(sorted(wanted))}
        overrides = [f"+{group}@{package}={name}" for package, (group, name) in keys.items()]
        try:
            with initialize_config_dir(str(self.folder.absolute()), version_base="1.3"):
                composed = OmegaConf.to_container(compose(overrides=overrides))
        except (HydraException, yaml.YAMLError) as error:
            raise UserError(
                f"{self.folder}/ cannot be composed: {' '.join(str(error).split())}"
            ) from error
        assert isinstance(composed, dict)
        self.options = {key: composed[package] for package, key in keys.items()}


def compose_study(conf: Path, name: str, overrides: Sequence[str] = ()) -> Study:
    """The study `name` of `conf`, with Hydra overrides laid on it.

    Raises UserError for an unknown name, key or value, with the nearest one that exists.
    """
    folder = _Conf(conf)
    check_options("the study", [name], folder.names("study"), "conf/study/")
    path = conf / "study" / f"{name}.yaml"
    said = _load(path)
    parsed = [parse(override, "--config overrides") for override in overrides]
    for override in parsed:
        if override.group == "study":
            override.lay_on(said)
    return _compose(folder, name, said, question_of(path), tuple(overrides))


def compose_by_hand(
    conf: Path, task: str, model: str, seed: int, overrides: Sequence[str]
) -> Study:
    """A study of one run, for `lookback train task=… model=…`. Raises as `compose_study`."""
    said = {"tasks": [task], "models": [model], "seeds": [seed]}
    return _compose(_Conf(conf), "by-hand", said, "One run by hand.", tuple(overrides))


def _compose(
    folder: _Conf, name: str, said: dict[str, Any], question: str, overrides: tuple[str, ...]
) -> Study:
    where = f"study '{name}'"
    check_settings(said, "study", where)
    tasks, models = _variants(said["tasks"]), _variants(said["models"])
    seeds = range(said["seeds"]) if isinstance(said["seeds"], int) else said["seeds"]
    choices = {group: said.get(group, "default") for group in ("recipe", "trainer")}
    layers = {
        (task.name, model.name): [
            *(parse(text, where) for text in (*said.get("overrides", []), *task.overrides)),
            *(_own_of(model, parse(text, where)) for text in model.overrides),
            *(parse(text, "--config overrides") for text in overrides),
        ]
        for task in tasks
        for model in models
    }
    wanted = {("task", v.base) for v in tasks} | {("model", v.base) for v in models}
    wanted |= {("probe", p) for p in said.get("probes", [])}
    wanted |= {("explainer", e) for e in said.get("explainers", [])}
    wanted |= {("tracking", said.get("tracking", "local"))} | set(choices.items())
    wanted |= {(o.group, o.choice) for cell in layers.values() for o in cell if o.choice}
    for group, option in sorted(wanted):
        folder.require(group, option, where)
    folder.compose(wanted)

    bases = {(task.name, model.name): (task, model) for task in tasks for model in models}
    cells = {
        key: _cell(folder, task, model, choices, layers[key])
        for key, (task, model) in bases.items()
    }
    said_of = {"/".join(key): vars(config) for key, config in cells.items()}
    tune = tune_of(said, said_of, seeds, where)
    for key, config in cells.items():
        check_trainer(config.trainer, tune, where)
        for tried in _candidates(tune, where):
            try:
                _cell(folder, *bases[key], choices, [*layers[key], tried])
            except UserError as mistake:
                raise UserError(f"{where}: 'tune' cannot try {tried.text}.\n{mistake}") from None
    general = [parse(text, where) for text in (*said.get("overrides", []), *overrides)]
    measures = {
        group: _measures(folder, group, said.get(f"{group}s", []), general)
        for group in ("probe", "explainer")
    }
    return Study(
        name=name,
        question=question,
        overrides=overrides,
        seeds=tuple(seeds),
        cells=cells,
        probes=measures["probe"],
        explainers=measures["explainer"],
        tracking=_with_overrides(
            folder, "tracking", said.get("tracking", "local"), [o for o in general if o.keys]
        ),
        published=tuple(published_of(folder.folder, said.get("published", []), where)),
        match=match_of(said, {model: it.model for (_, model), it in cells.items()}, where),
        tune=tune,
    )


def _own_of(model: _Variant, override: Override) -> Override:
    if override.group not in ("model", "recipe", "trainer"):
        raise UserError(
            f"{override.where}: model '{model.name}' has the override '{override.text}', but a "
            "task is the same for all models. Make a variant of the task instead, under 'tasks'."
        )
    return override


def _cell(
    folder: _Conf,
    task: _Variant,
    model: _Variant,
    choices: Mapping[str, str],
    overrides: Sequence[Override],
) -> CellConfig:
    chosen = {**choices, **{o.group: o.choice for o in overrides if o.choice}}
    options = {"task": task.base, "model": model.base, **chosen}
    return CellConfig(
        **{
            group: _with_overrides(folder, group, options[group], overrides)
            for group in ("task", "model", "recipe", "trainer")
        }
    )


def _candidates(tune: Mapping[str, Any] | None, where: str) -> Iterator[Override]:
    """Every value that is tried, as an override: laid on a cell, it is held against the schemas."""
    for key, choices in (tune["values"] if tune else {}).items():
        group, *keys = key.split(".")
        for value in candidates(key, choices, where):
            text = f"{key}={json.dumps(value)}"
            yield Override(text, where, group, tuple(keys), value, None, False, False)


def _with_overrides(
    folder: _Conf, group: str, option: str, overrides: Sequence[Override]
) -> dict[str, Any]:
    own = [override for override in overrides if override.group == group and not override.choice]
    key = (group, option, *(".".join(o.keys) + o.text for o in own))
    if key not in folder.laid:
        config = copy.deepcopy(folder.options[group, option])
        if own:  # the file's own mistakes first: an override would be blamed for them
            _with_overrides(folder, group, option, [])
        for override in own:
            override.lay_on(config)
        where = f"conf/{group}/{option}.yaml"
        config = _resolved(config, where)
        check_settings(config, group, where)
        check_target(config, where)
        folder.laid[key] = config
    return folder.laid[key]


def _resolved(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Interpolations filled in, after the overrides, so that they follow them."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {first_line(error)}.") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _measures(
    folder: _Conf, group: str, names: Sequence[str], overrides: Sequence[Override]
) -> dict[str, dict[str, Any]]:
    """The probes, or explainers, of a study; `probe.gradient_flow.sequences=64` changes one."""
    own = [override for override in overrides if override.group == group]
    for override in own:
        if override.keys[0] not in names:
            raise UserError(
                f"{override.where}: '{override.text}' changes {group} '{override.keys[0]}', which "
                "the study does not run.\n" + did_you_mean(override.keys[0], names)
            )
    return {
        name: _with_overrides(folder, group, name, [o.below() for o in own if o.keys[0] == name])
        for name in names
    }


def _variants(said: Sequence[str] | Mapping[str, Any]) -> list[_Variant]:
    """Names alone, or a mapping from names to what they stand for."""
    if not isinstance(said, Mapping):
        return [_Variant(name, name, ()) for name in said]
    return [
        _Variant(name, (what or {}).get("base", name), tuple((what or {}).get("overrides", ())))
        for name, what in said.items()
    ]


class _Loader(yaml.SafeLoader):
    """YAML as Hydra reads conf/: 1e-3 is a number, which YAML 1.1 takes for a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _load(path: Path) -> dict[str, Any]:
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise UserError(f"{path} is empty; a study names at least tasks, models and seeds.")
    return said


def question_of(path: Path) -> str:
    """The comment that a YAML file begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    text = " ".join(lines)
    return re.sub(r"^conf/\S+\.yaml\s*[—–-]\s*", "", text)
