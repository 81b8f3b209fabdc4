"""The code that a study runs: a copy of package and rules, and a fingerprint of each module.

Jobs import the copy, so an edit while a study runs touches none of them. A fingerprint is a hash of
a module's syntax tree without comments and docstrings; what a stage depends on is what it imports.
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
LEFT_BEHIND = (".pyc", "~", ".orig", ".rej", ".bak")  # by editors and tools: part of nothing
NO_NUMBERS = {"lookback.storage.paths"}  # a file under a new name is missing, so it is made again
CAPTIONS = "figures"  # the package whose modules' docstrings stand in the report


@dataclass(frozen=True)
class Fingerprints:
    """By module: its hash, what it reaches by import, and the packages of others that it imports.

    By folder: the hashes of its data.
    """

    hashes: dict[str, str]
    reached: dict[str, list[str]]
    foreign: dict[str, list[str]]
    data: dict[str, dict[str, str]]

    def packages(self, code: Iterable[str]) -> set[str]:
        """The packages of others that these modules import, inside functions too."""
        return {name for module in code for name in self.foreign.get(module, [])}

    def of(self, roots: Iterable[str]) -> dict[str, str]:
        """Hashes of `roots`, all they import, every parent package, and data files beside them.

        Raises UserError where a root is no module of the package.
        """
        modules: set[str] = set()
        for root in roots:
            if root not in self.hashes:
                raise UserError(f"there is no module '{root}' in src/{PACKAGE}/.")
            modules |= {root, *self.reached[root]}
        for module in list(modules):
            parts = module.split(".")
            modules |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
        found = {module: self.hashes[module] for module in modules - NO_NUMBERS}
        for module in modules:
            found |= self.data.get(module, {})
        return dict(sorted(found.items()))


def take(root: Path) -> Path:
    """Copy the package and workflow/ of the project at `root` to results/.code/<digest>/."""
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
        except OSError:  # another planner was quicker; its copy is the same
            shutil.rmtree(temporary)
    _note_commit(root, home)
    return home


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    for base, place in ((root / "src" / PACKAGE, PACKAGE), (root / "workflow", "workflow")):
        for folder, subfolders, names in os.walk(base):
            subfolders[:] = [it for it in subfolders if it[0] != "." and it != "__pycache__"]
            for name in names:
                path = Path(folder) / name
                if not name.startswith(".") and not name.endswith(LEFT_BEHIND):
                    yield f"{place}/{path.relative_to(base).as_posix()}", path.read_bytes()


def _note_commit(root: Path, home: Path) -> None:
    """Say from which commit the copy comes; a clean tree's word replaces a dirty one's."""
    note = home / "commit.json"
    if note.exists() and read_json(note)["dirty"] is False:
        return
    said: dict[str, Any] = {"commit": None, "dirty": None}
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            said = {
                "commit": commit,
                "dirty": bool(_git(root, "status", "--porcelain", "src", "workflow")),
            }
    if not note.exists() or read_json(note) != said:
        write_json(note, said)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git here: the copy still says what ran
        return ""
    return done.stdout.strip()


def fingerprints(home: Path) -> Fingerprints:
    """Fingerprints of a copy, kept beside it: a copy never changes.

    Raises UserError where a module cannot be read, or lies in a folder that is no package.
    """
    kept = CODE / f"{home.name}.json"
    if kept.exists():
        return Fingerprints(**read_json(kept))
    hashes: dict[str, str] = {}
    foreign: dict[str, list[str]] = {}
    data: dict[str, dict[str, str]] = {}
    for path in sorted((home / PACKAGE).rglob("*")):
        if path.suffix == ".py":
            dotted = path.relative_to(home).with_suffix("")
            if all(part.isidentifier() for part in dotted.parts):  # else no import can name it
                tree = _tree(path)
                foreign[_module(dotted)] = sorted(_foreign(tree))
                hashes[_module(dotted)] = _hash_of_code(tree, path)
        elif path.is_file() and "__pycache__" not in path.parts:
            folder = next(it for it in path.parents if (it / "__init__.py").exists())
            owner = ".".join(folder.relative_to(home).parts)
            name = path.relative_to(home).as_posix()
            data.setdefault(owner, {})[name] = digest(path.read_bytes())[:8]
    found = Fingerprints(hashes, _reached(home, hashes), foreign, data)
    write_json(kept, found.__dict__)
    return found


def _module(dotted: Path) -> str:
    parts = dotted.parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reached(home: Path, modules: Iterable[str]) -> dict[str, list[str]]:
    """By module: all that it imports, directly or not, inside functions too."""
    import grimp

    with _importable(home):
        graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    return {module: sorted(graph.find_upstream_modules(module)) for module in modules}


@contextmanager
def _importable(home: Path) -> Iterator[None]:
    """Let grimp find the copy where the live package is imported already."""
    live = {name: it for name, it in sys.modules.items() if name.partition(".")[0] == PACKAGE}
    for name in live:
        del sys.modules[name]
    sys.path.insert(0, str(home.absolute()))
    try:
        yield
    finally:
        sys.path.remove(str(home.absolute()))
        sys.modules.update(live)


def _tree(path: Path) -> ast.Module:
    live = Path("src", *path.parts[-len(path.parts) + 3 :])
    if not (path.parent / "__init__.py").exists():  # what imports such a module is not to be seen
        raise UserError(f"{live.parent}/ has no __init__.py; its modules need one to be found.")
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UserError(
            f"{live}, line {error.lineno}: {error.msg}. Nothing was started."
        ) from error


def _foreign(tree: ast.Module) -> set[str]:
    """The top packages of what a module imports, without our own and Python's."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named.add(node.module)
    tops = {name.partition(".")[0] for name in named}
    return tops - {PACKAGE} - sys.stdlib_module_names


def _hash_of_code(tree: ast.Module, path: Path) -> str:
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
