"""Compute fingerprints of the code, so that an edit reruns only the stages that depend on it.

The fingerprint of a module is a hash of its syntax tree without comments and docstrings. A stage is
rerun if the fingerprint of a module that it imports, directly or indirectly, has changed.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lookback.errors import UserError
from lookback.planning.code_copy import PACKAGE
from lookback.planning.parse_source import parse_source
from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import CODE

# The report prints the module docstrings of the package `figures`, so the hashes include them.
CAPTIONS = "figures"


@dataclass(frozen=True)
class Fingerprints:
    """The hashes and the imports of all modules in one copy of the code of lookback."""

    hashes: dict[str, str]  # by module
    reached: dict[str, list[str]]  # all direct and indirect imports of each module
    foreign: dict[str, list[str]]  # the third-party packages that each module imports
    data: dict[str, dict[str, str]]  # hashes of the non-Python files in each package

    def packages(self, code: Iterable[str]) -> set[str]:
        """The third-party packages that the modules `code` import.

        Packages that are imported inside functions are included.
        """
        return {name for module in code for name in self.foreign.get(module, [])}

    def of(self, roots: Iterable[str]) -> dict[str, str]:
        """The hashes of all code and data files that the modules `roots` can use.

        The result covers `roots`, their direct and indirect imports, all parent packages, and the
        data files of these packages. Raises UserError if one of `roots` is not a module of
        lookback.
        """
        modules: set[str] = set()
        for root in roots:
            if root not in self.hashes:
                raise UserError(f"there is no module '{root}' in src/{PACKAGE}/.")
            modules |= {root, *self.reached[root]}
        for module in list(modules):
            parts = module.split(".")
            modules |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
        hashes = {module: self.hashes[module] for module in modules}
        for module in modules:
            hashes |= self.data.get(module, {})
        return dict(sorted(hashes.items()))


def fingerprints(home: Path) -> Fingerprints:
    """The fingerprints of all modules in the copy of the code in the folder `home`.

    The result is cached in <home>.json, because a copy never changes. A damaged cache is written
    again. Raises UserError if a module has a syntax error, or if the folder of a module has no
    __init__.py.
    """
    cache = CODE / f"{home.name}.json"
    cached = _cached(cache)
    if cached is not None:
        return cached
    hashes: dict[str, str] = {}
    foreign: dict[str, list[str]] = {}
    data: dict[str, dict[str, str]] = {}
    for path in sorted((home / PACKAGE).rglob("*")):
        if path.suffix == ".py":
            dotted = path.relative_to(home).with_suffix("")
            if all(part.isidentifier() for part in dotted.parts):  # a name that can be imported
                tree = _tree(path)
                foreign[_module(dotted)] = sorted(_foreign(tree))
                hashes[_module(dotted)] = _hash_of_code(tree, path)
        elif path.is_file() and "__pycache__" not in path.parts:
            folder = next(parent for parent in path.parents if (parent / "__init__.py").exists())
            owner = ".".join(folder.relative_to(home).parts)
            name = path.relative_to(home).as_posix()
            data.setdefault(owner, {})[name] = digest(path.read_bytes())[:8]
    computed = Fingerprints(hashes, _reached(home, hashes), foreign, data)
    write_json(cache, computed.__dict__)
    return computed


def _cached(cache: Path) -> Fingerprints | None:
    """The fingerprints in the file `cache`, or None if the file is missing or damaged."""
    try:
        content = read_json(cache)
        if all(isinstance(part, dict) for part in content.values()):
            return Fingerprints(**content)
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        pass
    return None


def _module(dotted: Path) -> str:
    """The dotted name of the module with the path `dotted` (without the suffix .py).

    The name of a file __init__.py is the name of its package.
    """
    parts = dotted.parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reached(home: Path, modules: Iterable[str]) -> dict[str, list[str]]:
    """For each of `modules`, all modules that it imports, directly or indirectly.

    Imports inside functions count as imports of the module.
    """
    import grimp

    with _importable(home):
        graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    return {module: sorted(graph.find_upstream_modules(module)) for module in modules}


@contextmanager
def _importable(home: Path) -> Iterator[None]:
    """Make Python import lookback from the folder `home` inside the `with` block.

    All modules of lookback that this process imported from src/ are removed from sys.modules
    inside the block, so that grimp analyses `home` and not src/.
    """
    imported = {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE
    }
    for name in imported:
        del sys.modules[name]
    sys.path.insert(0, str(home.absolute()))
    try:
        yield
    finally:
        sys.path.remove(str(home.absolute()))
        sys.modules.update(imported)


def _tree(path: Path) -> ast.Module:
    """The syntax tree of the module `path` in a copy of the code.

    Raises UserError if the module has a syntax error, or if its folder has no __init__.py.
    """
    source = Path("src", *path.parts[-len(path.parts) + 3 :])  # the file that the user edits
    if not (path.parent / "__init__.py").exists():
        # grimp ignores modules in a folder without __init__.py, so editing one would rerun nothing.
        raise UserError(
            f"{source.parent}/ has no __init__.py, so lookback cannot tell which stages import "
            f"{source.name}.\nCreate an empty {source.parent}/__init__.py."
        )
    return parse_source(path, source)


def _foreign(tree: ast.Module) -> set[str]:
    """The packages that a module imports, except lookback and the standard library."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module)
    packages = {name.partition(".")[0] for name in imported}
    return packages - {PACKAGE} - sys.stdlib_module_names


def _hash_of_code(tree: ast.Module, path: Path) -> str:
    """The hash of a module's syntax tree without docstrings.

    The hash of a module in the package `figures` includes the module docstring, which the report
    prints.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module) and path.parent.name == CAPTIONS:
            continue
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return digest(ast.dump(tree))[:8]
