"""Read the parameters of a class or function from its source code.

Importing the class instead would import torch, which takes seconds.
"""

import ast
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from keyword import iskeyword
from pathlib import Path

from lookback.errors import UserError
from lookback.planning.parse_source import parse_source


class NotFound(Exception):
    """Raised if a part of a dotted name does not exist.

    `word` is the wrong part, and `choices` are the valid parts.
    """

    def __init__(self, what: str, word: str, choices: list[str]):
        super().__init__(word)
        self.what = what  # the kind of thing that was not found, such as «module»
        self.word = word
        self.choices = choices


@dataclass(frozen=True)
class Parameter:
    """One parameter of a class or function."""

    required: bool
    choices: tuple[object, ...] = ()  # the values of a Literal
    # The names of the allowed types, such as «int». An empty set allows every type.
    types: frozenset[str] = frozenset()
    # The names of the allowed types of each entry, if the parameter is a Sequence, list or tuple.
    entries: frozenset[str] = frozenset()


@cache
def signature_of(target: str) -> Mapping[str, Parameter] | None:
    """The parameters of the class or function with the dotted name `target`.

    Returns None if `target` takes **keywords, or if its parameters cannot be read from its source
    code. Raises NotFound if a part of the dotted name does not exist, and UserError if the module
    has a syntax error.
    """
    module, _, name = target.rpartition(".")
    definition = _definition(_file_of(module), name)
    if isinstance(definition, ast.FunctionDef):
        return _of_arguments(definition.args, skip=0)
    return _of_class(definition[1], definition[0]) if isinstance(definition, tuple) else None


def _file_of(module: str) -> Path:
    """The source file of a module.

    Raises NotFound if the module does not exist, and UserError if Python cannot import its name.
    """
    first, *rest = module.split(".") if module else [""]
    spec = None
    if first in sys.modules and getattr(sys.modules[first], "__path__", None):
        folder = Path(next(iter(sys.modules[first].__path__)))
    else:
        try:
            spec = importlib.util.find_spec(first) if first not in ("", "__main__") else None
        except ValueError:  # a module that is imported already may have no place
            spec = None
        if spec is None or spec.origin is None:
            raise NotFound("package", first, ["lookback", "torch"])
        if not spec.origin.endswith(".py"):  # the module is built in, frozen or compiled
            raise NotFound("Python file of the module", first, ["lookback", "torch"])
        if not rest and not spec.submodule_search_locations:
            return Path(spec.origin)
        folder = Path(spec.origin).parent
    for depth, part in enumerate(rest):
        if (folder / part).is_dir():
            folder = folder / part
        elif (folder / f"{part}.py").exists() and depth == len(rest) - 1:
            if not part.isidentifier() or iskeyword(part):
                raise UserError(
                    f"{module.replace('.', '/')}.py: no module can import '{part}'. Rename the "
                    "file: its name needs letters, digits and '_', and cannot be a word of Python."
                )
            return folder / f"{part}.py"
        else:
            modules = {p.stem for p in folder.glob("*.py")} | {
                p.parent.name for p in folder.glob("*/__init__.py")
            }
            raise NotFound(
                "module",
                part,
                sorted(name for name in modules if name.isidentifier() and name[0] != "_"),
            )
    return folder / "__init__.py"


@cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a module. A module of the project is shown by its path below src/."""
    parts = path.parts
    own = parts[-parts[::-1].index("src") - 1 :] if "src" in parts else parts
    return parse_source(path, Path(*own))


# Base classes whose constructor has no parameters.
WITHOUT_PARAMETERS = ("ABC", "object", "Protocol")
# A definition is a function, a class with the path of its source file, or None for a variable.
Definition = ast.FunctionDef | tuple[Path, ast.ClassDef] | None


def _definition(path: Path, name: str) -> Definition:
    """The definition of `name` in the file `path`, or in the file from which `path` imports `name`.

    Raises NotFound if the source file neither defines nor imports `name`.
    """
    names = []
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
            if node.name == name:
                return (path, node) if isinstance(node, ast.ClassDef) else node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names.append(alias.asname or alias.name)
                if names[-1] == name:
                    return _definition(_imported(path, node), alias.name)
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return None
    raise NotFound(
        "class or function", name, sorted(n for n in set(names) if not n.startswith("_"))
    )


def _imported(path: Path, node: ast.ImportFrom) -> Path:
    """The source file from which a statement `from … import …` in the file `path` imports."""
    if not node.level:
        return _file_of(node.module or "")
    folder = path.parents[node.level - 1]
    inner = folder.joinpath(*(node.module or "").split("."))
    return inner / "__init__.py" if inner.is_dir() else inner.with_suffix(".py")


def _of_class(node: ast.ClassDef, path: Path) -> Mapping[str, Parameter] | None:
    """The parameters of the constructor of a class.

    The parameters of a dataclass are its fields and the fields of its base classes. Any other class
    without `__init__` has the parameters of its base class. Returns None if the source code of the
    base class is not found.
    """
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _of_arguments(statement.args, skip=1)
    if _is_dataclass(node):
        return _fields(node, path)
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id not in WITHOUT_PARAMETERS:
            try:
                parent = _definition(path, base.id)
            except NotFound:
                return None
            return _of_class(parent[1], parent[0]) if isinstance(parent, tuple) else None
    return {} if not node.bases or ast.unparse(node.bases[0]) in WITHOUT_PARAMETERS else None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef, path: Path) -> Mapping[str, Parameter] | None:
    """The parameters of the constructor of a dataclass, with those that it inherits.

    Returns None if the source code of a base class is not found.
    """
    fields: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        if ast.unparse(base) in WITHOUT_PARAMETERS:
            continue
        try:
            parent = _definition(path, base.id) if isinstance(base, ast.Name) else None
        except NotFound:
            return None
        if not isinstance(parent, tuple):
            return None
        inherited = _fields(parent[1], parent[0])
        if inherited is None:
            return None
        fields |= inherited
    if not _is_dataclass(node):  # such a class can pass on inherited fields, but has none itself
        return fields
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        default = statement.value
        keywords = default.keywords if isinstance(default, ast.Call) else []
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in keywords}
        if "ClassVar" in ast.unparse(statement.annotation) or options.get("init") == "False":
            continue
        is_field = isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field")
        required = not options.keys() & {"default", "default_factory"} if is_field else not default
        fields[statement.target.id] = _parameter(statement.annotation, required=required)
    return fields


def _of_arguments(arguments: ast.arguments, skip: int) -> Mapping[str, Parameter] | None:
    """The parameters of a function, without the first `skip` parameters.

    Returns None if the function takes **keywords.
    """
    if arguments.kwarg:
        return None
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    parameters = {
        argument.arg: _parameter(argument.annotation, required=index < first_default)
        for index, argument in enumerate(positional)
        if index >= skip
    }
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters[argument.arg] = _parameter(argument.annotation, required=default is None)
    return parameters


def _parameter(annotation: ast.expr | None, *, required: bool) -> Parameter:
    """A parameter whose allowed values or types are read from its type annotation."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal"):
        elements = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        values = tuple(e.value for e in elements if isinstance(e, ast.Constant))
        return Parameter(required, choices=values)
    for sequence in ("Sequence", "list", "tuple"):
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == sequence:
            inner = annotation.slice
            if isinstance(inner, ast.Tuple):  # tuple[int, ...]; tuple[int, str] allows every entry
                is_uniform = ast.unparse(inner.elts[-1]) == "..."
                return Parameter(required, entries=_types(inner.elts[0] if is_uniform else None))
            return Parameter(required, entries=_types(inner))
    return Parameter(required, types=_types(annotation))


def _types(annotation: ast.expr | None) -> frozenset[str]:
    """The names of the types in an annotation such as `int | None`.

    The result is empty if the annotation has a type that is not a plain type of YAML.
    """
    names = {part.strip() for part in ast.unparse(annotation).split("|")} if annotation else set()
    plain = names <= {"int", "float", "str", "bool", "None"}
    return frozenset(names) if plain else frozenset()
