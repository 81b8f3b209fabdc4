"""Copy the code that a study runs, and compute a fingerprint of each module.

Jobs import the copy, so editing the code while a study runs changes no job. A fingerprint is a hash
of a module's syntax tree without comments and docstrings. A stage depends on the fingerprints of
all modules that it imports, directly or indirectly.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookback.errors import UserError
from lookback.storage.atomic import digest, read_json, write_json
from lookback.storage.paths import CODE

PACKAGE = "lookback"
LEFT_BEHIND = (".pyc", "~", ".orig", ".rej", ".bak")  # backups and caches, never imported
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


def take(root: Path) -> Path:
    """Copy the package and workflow/ of the project `root`; returns results/.code/<digest>/."""
    files = dict(sorted(_sources(root)))
    name = digest(
        b"".join(f"{path}\0{digest(content)}\0".encode() for path, content in files.items())
    )
    home = CODE / name
    if not home.exists():
        temporary = CODE / f".{name}.{os.getpid()}"
        for path, content in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(content)
        try:
            temporary.rename(home)
        except OSError:  # another process has just made the same copy
            shutil.rmtree(temporary)
    _note_commit(root, home)
    return home


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    """The path inside the copy, and the content, of every file to copy."""
    for base, place in ((root / "src" / PACKAGE, PACKAGE), (root / "workflow", "workflow")):
        for folder, subfolders, names in os.walk(base):
            subfolders[:] = [
                name for name in subfolders if name[0] != "." and name != "__pycache__"
            ]
            for name in names:
                path = Path(folder) / name
                if not name.startswith(".") and not name.endswith(LEFT_BEHIND):
                    yield f"{place}/{path.relative_to(base).as_posix()}", path.read_bytes()


def _note_commit(root: Path, home: Path) -> None:
    """Write commit.json: the commit of the copy, and whether files differ from it (dirty).

    A note with dirty=False is kept. A note with dirty=True is replaced by a newer note.
    """
    note = home / "commit.json"
    if note.exists() and read_json(note)["dirty"] is False:
        return
    current: dict[str, Any] = {"commit": None, "dirty": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            current = {
                "commit": commit,
                "dirty": bool(_git(root, "status", "--porcelain", "src", "workflow")),
            }
    if not note.exists() or read_json(note) != current:
        write_json(note, current)


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command; empty if git is not installed."""
    try:
        completed = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return completed.stdout.strip()


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
