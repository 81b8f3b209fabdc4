"""The signature of a dotted name, read from syntax trees: nothing is imported, so it is quick."""

import ast
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class NotFound(Exception):
    """A dotted name that leads nowhere: which word, and what there is in its place."""

    def __init__(self, what: str, word: str, choices: list[str]):
        super().__init__(word)
        self.what = what
        self.word = word
        self.choices = choices


@dataclass(frozen=True)
class Parameter:
    """One parameter of a callable."""

    required: bool
    choices: tuple[object, ...] = ()  # of a Literal
    types: frozenset[str] = frozenset()  # int, float, str, bool, None; empty: anything


@cache
def signature_of(target: str) -> Mapping[str, Parameter] | None:
    """The parameters of the class or function at `target`; None where it takes any, or is unknown.

    Raises NotFound where a package, module or name on the way does not exist.
    """
    module, _, name = target.rpartition(".")
    found = _definition(_file_of(module), name)
    if isinstance(found, ast.FunctionDef):
        return _of_arguments(found.args, skip=0)
    return _of_class(found[1], found[0]) if isinstance(found, tuple) else None


def _file_of(module: str) -> Path:
    """The source of a module."""
    first, *rest = module.split(".") if module else [""]
    spec = None
    if first in sys.modules and getattr(sys.modules[first], "__path__", None):
        folder = Path(next(iter(sys.modules[first].__path__)))
    else:
        spec = importlib.util.find_spec(first) if first else None
        if spec is None or spec.origin is None:
            raise NotFound("package", first, ["lookback", "torch"])
        if not rest and not spec.submodule_search_locations:
            return Path(spec.origin)
        folder = Path(spec.origin).parent
    for depth, part in enumerate(rest):
        if (folder / part).is_dir():
            folder = folder / part
        elif (folder / f"{part}.py").exists() and depth == len(rest) - 1:
            return folder / f"{part}.py"
        else:
            there = {p.stem for p in folder.glob("*.py")} | {
                p.parent.name for p in folder.glob("*/__init__.py")
            }
            raise NotFound(
                "module", part, sorted(name for name in there if not name.startswith("_"))
            )
    return folder / "__init__.py"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


Found = ast.FunctionDef | tuple[Path, ast.ClassDef] | None


def _definition(path: Path, name: str) -> Found:
    """A function, or a class with the file that it stands in; imports of the name are followed."""
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
    if not node.level:
        return _file_of(node.module or "")
    folder = path.parents[node.level - 1]
    inner = folder.joinpath(*(node.module or "").split("."))
    return inner / "__init__.py" if inner.is_dir() else inner.with_suffix(".py")


def _of_class(node: ast.ClassDef, path: Path) -> Mapping[str, Parameter] | None:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _of_arguments(statement.args, skip=1)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return {
            s.target.id: _parameter(s.annotation, required=s.value is None)
            for s in node.body
            if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
        }
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id not in ("ABC", "object", "Protocol"):
            try:
                found = _definition(path, base.id)
            except NotFound:
                return None
            return _of_class(found[1], found[0]) if isinstance(found, tuple) else None
    return {} if not node.bases or ast.unparse(node.bases[0]) in ("ABC", "object") else None


def _of_arguments(arguments: ast.arguments, skip: int) -> Mapping[str, Parameter] | None:
    if arguments.kwarg:
        return None
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    found = {
        it.arg: _parameter(it.annotation, required=index < first_default)
        for index, it in enumerate(positional)
        if index >= skip
    }
    for it, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[it.arg] = _parameter(it.annotation, required=default is None)
    return found


def _parameter(annotation: ast.expr | None, *, required: bool) -> Parameter:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal"):
        elements = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        values = tuple(e.value for e in elements if isinstance(e, ast.Constant))
        return Parameter(required, choices=values)
    names = {part.strip() for part in ast.unparse(annotation).split("|")} if annotation else set()
    plain = names <= {"int", "float", "str", "bool", "None"}
    return Parameter(required, types=frozenset(names) if plain else frozenset())
