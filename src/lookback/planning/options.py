"""Compose the options in conf/ with Hydra, apply overrides to them, and check the result.

An option is one YAML file, such as conf/model/gru.yaml. All options are composed in one call of
Hydra, because each call takes 57 ms. Overrides are applied to copies of the composed options.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lookback.errors import UserError, shortened
from lookback.planning.names import check_name
from lookback.planning.overrides import Override, first_line
from lookback.planning.validate_settings import check_settings, check_target, did_you_mean
from lookback.planning.yaml_files import yaml_mistake


@dataclass
class Options:
    """The path of conf/, and the options that Hydra has composed from its YAML files."""

    folder: Path
    composed: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # group, name
    # Cache of the options with overrides applied, because many models share one recipe.
    checked: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def names(self, group: str) -> list[str]:
        """The names of all options in the folder conf/<group>/."""
        return sorted(path.stem for path in (self.folder / group).glob("*.yaml"))

    def compose(self, wanted: Iterable[tuple[str, str]], where: str) -> None:
        """Compose all options in `wanted`, given as (group, name), in one call of Hydra.

        Raises UserError if an option does not exist, or if Hydra cannot compose the options.
        """
        keys = {f"option{number}": key for number, key in enumerate(sorted(wanted))}
        for group, name in keys.values():
            self._require(group, name, where)
        packages = self._packages(keys)
        self.composed = {key: packages[package] for package, key in keys.items()}

    def study(self, name: str) -> dict[str, Any]:
        """The settings of the study `name`, merged with the files in its Hydra defaults list.

        Raises UserError if Hydra cannot compose the study, or if its YAML file is empty.
        """
        settings = self._packages({"asked": ("study", name)}).get("asked")
        if not isinstance(settings, dict) or not settings:
            raise UserError(
                f"conf/study/{name}.yaml is empty; a study needs the keys tasks, models and seeds."
            )
        return settings

    def _packages(self, keys: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        """Compose the options (group, name) in `keys` in one call of Hydra.

        Each option gets its own Hydra package. The name of the Hydra package is the key of the
        option in `keys` and in the result.
        """
        from hydra import compose, initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        overrides = [
            f"+{group}@{package}={_quoted(name)}" for package, (group, name) in keys.items()
        ]
        files = ", ".join(f"{group}/{name}.yaml" for group, name in keys.values())
        where = f"Hydra cannot compose {self.folder}/ ({files})"
        try:
            with initialize_config_dir(str(self.folder.absolute()), version_base="1.3"):
                packages = OmegaConf.to_container(compose(overrides=overrides))
        except yaml.YAMLError as error:
            raise yaml_mistake(error, self.folder) from error
        except RecursionError as error:
            raise UserError(f"{where}: a defaults list includes its own file.") from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            reason = str(error) or str(error.__cause__) or type(error.__cause__).__name__
            raise UserError(f"{where}: {' '.join(reason.split())}") from error
        assert isinstance(packages, dict)
        if others := [str(package) for package in packages if package not in keys]:
            raise UserError(
                f"{where}: a defaults list sets '{others[0]}', which no option reads.\n"
                "Write '@_here_' behind the group, as in '- /probes@_here_: memory'."
            )
        return {str(package): content for package, content in packages.items()}

    def _require(self, group: str, name: str, where: str) -> None:
        """Raise UserError if conf/<group>/<name>.yaml does not exist or cannot have this name."""
        if name not in self.names(group):
            raise UserError(
                f"{where} asks for {group} '{shortened(name)}', which is not in conf/{group}/.\n"
                + did_you_mean(name, self.names(group))
            )
        check_name(group, name, f"conf/{group}/{name}.yaml")

    def with_overrides(
        self, group: str, name: str, overrides: Sequence[Override]
    ) -> dict[str, Any]:
        """The checked settings of an option, with the overrides of its group applied.

        Raises UserError if an override changes a key that the option does not have, or if the
        settings violate their JSON schema or do not match the constructor's parameters.
        """
        changes = [override for override in overrides if override.group == group and override.keys]
        key = (group, name, *(".".join(change.keys) + change.text for change in changes))
        if key not in self.checked:
            config = copy.deepcopy(self.composed[group, name])
            if changes:
                # Check the YAML file first, so that no override is blamed for mistakes in the file.
                self.with_overrides(group, name, [])
            for change in changes:
                change.apply_to(config)
            where = f"conf/{group}/{name}.yaml"
            config = _interpolated(config, where)
            check_settings(config, group, where)
            check_target(config, where)
            self.checked[key] = config
        return self.checked[key]


def _quoted(name: str) -> str:
    """The name as a quoted string of Hydra's override grammar."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _interpolated(config: dict[str, Any], where: str) -> dict[str, Any]:
    """`config` with each interpolation `${…}` replaced by the value after all overrides."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {first_line(error)}.") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}
