"""The Markdown pages of the repository, and the example files that docs/extending.md shows."""

import re
from pathlib import Path

from tests.conftest import ROOT

IN_THE_ROOT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in IN_THE_ROOT), *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# A line that is a path and nothing else, and the fenced block below it.
EXAMPLE = re.compile(rf"^`(?P<path>[^`\n]+)`\n+{FENCE.pattern[1:]}", re.MULTILINE | re.DOTALL)


def examples_in(page: str) -> dict[str, str]:
    """The content of each example file of a page, by its path in the repository."""
    return {found["path"]: found["text"] for found in EXAMPLE.finditer(page)}


def without_code_blocks(page: str) -> str:
    """The prose of a page."""
    return FENCE.sub("", page)


def code_blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [found["text"] for found in FENCE.finditer(page) if found["language"] == language]


def extending() -> Path:
    """The page whose examples the tests run."""
    return ROOT / "docs" / "extending.md"
