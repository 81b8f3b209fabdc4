"""What the documentation names exists: links, paths, targets of make, packages, layers."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lookback.summarise.quantities.memory_horizon import DEFINITION
from tests.conftest import ROOT
from tests.documents import (
    FENCE,
    PAGES,
    code_blocks,
    examples_in,
    extending,
    without_code_blocks,
)

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"[a-z]+:")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(r"[\w.<>*-]+(?:/[\w.<>*-]+)+\.(?:py|yaml|md|smk)")
PLACEHOLDER = re.compile(r"<[^>]+>")  # conf/model/<name>.yaml: one file at least has this form
IGNORED_BY_GIT = "results/"
TARGET_IN_PROSE = re.compile(r"`make ([a-z]+)`")
TARGET_IN_SHELL = re.compile(r"^make ([a-z]+)", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def dead_links(page: Path) -> list[str]:
    """The relative links of a page whose file, or whose heading, does not exist."""
    links = LINK.findall(without_code_blocks(page.read_text(encoding="utf-8")))
    return [link for link in links if not EXTERNAL.match(link) and not is_alive(page, link)]


def is_alive(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not heading or heading in anchors(target.read_text(encoding="utf-8"))


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub writes them in a link."""
    headings = HEADING.findall(without_code_blocks(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_paths(page: Path, root: Path = ROOT) -> set[str]:
    """The repository paths in backticks that do not exist, without those of the page's examples.

    A path may leave out src/lookback/.
    """
    text = page.read_text(encoding="utf-8")
    words = (word for code in CODE.findall(FENCE.sub("", text)) for word in code.split())
    paths = {word for word in words if PATH.fullmatch(word)} - set(examples_in(text))
    return {path for path in paths if not exists(path, root, page.parent)}


def exists(path: str, root: Path, beside: Path) -> bool:
    pattern = PLACEHOLDER.sub("*", path)
    if path.startswith(IGNORED_BY_GIT) and not (root / path).exists():
        return pattern != path  # a form of a result's name, as in results/<study>/…
    folders = (root, root / "src" / "lookback", beside)
    return any(next(folder.glob(pattern), None) is not None for folder in folders)


def targets_in(page: str) -> set[str]:
    """The targets of make that a page names, in prose or in a shell block."""
    shell = "\n".join(code_blocks(page, "sh"))
    return {*TARGET_IN_PROSE.findall(without_code_blocks(page)), *TARGET_IN_SHELL.findall(shell)}


@cache
def targets() -> set[str]:
    """The targets that `make help` lists."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"^ +make (\w+)", listed.stdout, re.MULTILINE))


def layers_in(page: str) -> list[str]:
    """The packages that a page lists from top to bottom, one line each."""
    blocks = (block.strip().splitlines() for block in code_blocks(page, "text"))
    return next(block for block in blocks if block[0] == "__main__")


def packages() -> Iterator[str]:
    """The packages and modules in the root of src/lookback/, as the documentation writes them."""
    for path in (ROOT / "src/lookback").iterdir():
        if path.suffix == ".py" and not path.stem.startswith("_"):
            yield path.name
        elif (path / "__init__.py").exists():
            yield f"{path.name}/"


@every_page
def test_every_relative_link_leads_somewhere(page: Path):
    assert dead_links(page) == []


@every_page
def test_every_path_in_backticks_exists(page: Path):
    assert missing_paths(page) == set()


@every_page
def test_every_target_of_make_is_one_that_make_help_lists(page: Path):
    assert targets_in(page.read_text(encoding="utf-8")) <= targets()


def test_the_design_lists_every_package_once():
    rows = re.findall(r"^\| `([\w./]+)` \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    assert sorted(set(rows) & set(packages())) == sorted(packages())


def test_the_design_lists_the_layers_that_import_linter_checks():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    assert layers_in((ROOT / "docs/design.md").read_text()) == layers


def test_the_examples_pass_ruff(tmp_path: Path):
    for path, text in examples_in(extending().read_text(encoding="utf-8")).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    for check in (["check"], ["format", "--check"]):
        command = [Path(sys.executable).parent / "ruff", *check, "--no-cache"]
        command += ["--config", ROOT / "pyproject.toml", tmp_path]
        assert subprocess.run(command, check=False).returncode == 0


WRONG = """# A page

## What it is for

[a](page.md#what-it-is-for) [b](page.md#what-it-was) [c](gone.md) [d](https://example.org/gone.md)
`src/lookback/here.py` `here.py` `sub/there.py` `src/lookback/gone.py` `conf/<group>/gone.yaml`
`results/<study>/<task>/x.yaml` `make run` `make fast`

`src/lookback/new.py`

```python
path = "`src/lookback/unread.py`"
```

```sh
make slow  # a comment
```
"""


def test_what_a_page_names_wrongly_is_found(tmp_path: Path):
    for name in ("src/lookback/here.py", "src/lookback/sub/there.py", "conf/model/a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    page = tmp_path / "page.md"
    page.write_text(WRONG)
    assert dead_links(page) == ["page.md#what-it-was", "gone.md"]
    assert missing_paths(page, tmp_path) == {"src/lookback/gone.py", "conf/<group>/gone.yaml"}
    assert targets_in(WRONG) == {"run", "fast", "slow"}
    assert targets_in(WRONG) - targets() == {"fast", "slow"}
    assert examples_in(WRONG) == {"src/lookback/new.py": 'path = "`src/lookback/unread.py`"\n'}


def test_the_readme_defines_the_memory_horizon_as_the_code_does():
    prose = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"The memory horizon is {DEFINITION}." in prose
