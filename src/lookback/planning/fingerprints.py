"""Fingerprints of the code: what a stage depends on, so that an edit reruns only what it changes.

The fingerprint of a module is a hash of its syntax tree without comments and docstrings. A stage
depends on the fingerprints of all modules that it imports, directly or indirectly.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lookback.errors import UserError
from lookback.planning.code_copy import PACKAGE
from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import CODE

# Modules that no fingerprint counts. storage/paths.py only names files.
# If paths.py renames a result, Snakemake finds no file of the new name and makes the file again.
NOT_COUNTED = {"lookback.storage.paths"}
CAPTIONS = "figures"  # the report prints the docstrings of this package, so they are hashed, too


@dataclass(frozen=True)
class Fingerprints:
    """The hashes and imports of all modules of one copy of the code."""

    hashes: dict[str, str]  # by module
    reached: dict[str, list[str]]  # by module: all modules that it imports, directly or indirectly
    foreign: dict[str, list[str]]  # by module: the third-party packages that it imports
    data: dict[str, dict[str, str]]  # by package: the hash of each file that is not Python

    def packages(self, code: Iterable[str]) -> set[str]:
        """The third-party packages that these modules import, also inside functions."""
        return {name for module in code for name in self.foreign.get(module, [])}

    def of(self, roots: Iterable[str]) -> dict[str, str]:
        """The hashes of all code that running `roots` can reach.

        Counted are the modules `roots`, all their imports, all parent packages, and the data files
        of all these. Raises UserError if a root is not a module of the package.
        """
        modules: set[str] = set()
        for root in roots:
            if root not in self.hashes:
                raise UserError(f"there is no module '{root}' in src/{PACKAGE}/.")
            modules |= {root, *self.reached[root]}
        for module in list(modules):
            parts = module.split(".")
            modules |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
        hashes = {module: self.hashes[module] for module in modules - NOT_COUNTED}
        for module in modules:
            hashes |= self.data.get(module, {})
        return dict(sorted(hashes.items()))


def fingerprints(home: Path) -> Fingerprints:
    """The fingerprints of the copy `home`, cached in <home>.json because a copy never changes.

    Raises UserError if a module has a syntax error, or if its folder has no __init__.py.
    """
    cache = CODE / f"{home.name}.json"
    if cache.exists():
        return Fingerprints(**read_json(cache))
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


def _module(dotted: Path) -> str:
    """The name of a module from its path without suffix; a package's __init__ is the package."""
    parts = dotted.parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reached(home: Path, modules: Iterable[str]) -> dict[str, list[str]]:
    """By module: all modules that it imports, directly or indirectly, also inside functions."""
    import grimp

    with _importable(home):
        graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    return {module: sorted(graph.find_upstream_modules(module)) for module in modules}


@contextmanager
def _importable(home: Path) -> Iterator[None]:
    """Make Python import the package from the copy `home` for the duration of the block.

    This process has imported the package from src/, so grimp would otherwise analyse src/.
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
    """The syntax tree of a module of the copy.

    Raises UserError if the module has a syntax error, or if its folder has no __init__.py.
    """
    source = Path("src", *path.parts[-len(path.parts) + 3 :])  # the file that the user edits
    if not (path.parent / "__init__.py").exists():
        # grimp does not see imports of such a module, so a change of it would rerun nothing.
        raise UserError(
            f"{source.parent}/ has no __init__.py, so lookback cannot tell which stages import "
            f"{source.name}.\nCreate an empty {source.parent}/__init__.py."
        )
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UserError(
            f"{source}, line {error.lineno}: {error.msg}. No job was started."
        ) from error


def _foreign(tree: ast.Module) -> set[str]:
    """The third-party packages that a module imports: neither lookback nor standard library."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module)
    packages = {name.partition(".")[0] for name in imported}
    return packages - {PACKAGE} - sys.stdlib_module_names


def _hash_of_code(tree: ast.Module, path: Path) -> str:
    """The hash of a syntax tree without docstrings, except the module docstrings of figures."""
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
