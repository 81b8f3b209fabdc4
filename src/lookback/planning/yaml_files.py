"""Read YAML files of conf/, and name the file and the lines of a mistake.

YAML takes the second of two equal keys in silence, so another experiment than the intended one
would run. Hydra refuses such a file, but its error message names only the second line.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lookback.errors import UserError


def read_yaml(path: Path) -> Any:
    """The content of a YAML file in a group of conf/.

    Raises UserError if the file is not YAML, or if a key stands twice in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{_shown(path)} is not YAML: {' '.join(str(error).split())}") from error
    if repeated := _repeated_key(text):
        raise UserError(f"{_shown(path)}: {repeated}")
    return content


def yaml_mistake(error: yaml.YAMLError, conf: Path) -> UserError:
    """The UserError for an error that Hydra met in a YAML file of the folder `conf`.

    If a key stands twice in the file, the error message names both lines.
    """
    mark = getattr(error, "problem_mark", None)
    if mark and Path(mark.name).is_file():
        path = Path(mark.name)
        if repeated := _repeated_key(path.read_text(encoding="utf-8")):
            return UserError(f"{_shown(path)}: {repeated}")
    return UserError(f"a file in {conf}/ is not YAML: {' '.join(str(error).split())}")


def _shown(path: Path) -> str:
    """The path of a file in a group of conf/, as error messages name it."""
    return f"conf/{path.parent.name}/{path.name}"


def _repeated_key(text: str) -> str | None:
    """A sentence about the first key that a mapping in a YAML text has twice, or None."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None  # the text has another mistake
    for mapping in _mappings(root):
        lines: dict[str, int] = {}
        for key, _ in mapping.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    return (
                        f"the key '{key.value}' stands twice, in line {lines[key.value]} and in "
                        f"line {line}. Remove one of them."
                    )
                lines[key.value] = line
    return None


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Every mapping in a tree of YAML nodes."""
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)
