"""Every paper that is cited is in references.bib, and every paper there is cited."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import bibtexparser
import pytest
from bibtexparser.library import Library
from bibtexparser.middlewares import (
    LatexDecodingMiddleware,
    SeparateCoAuthors,
    SplitNameParts,
)

from tests.conftest import ROOT

CITING = ("src/**/*.py", "conf/**/*.yaml", "docs/*.md", "README.md", "workflow/**/*.*")
KEY = r"[a-z]+\d{4}[a-z]?"
CITATION = re.compile(rf"\[({KEY}(?:[,;] {KEY})*)\]")  # one key, or several
AUTHORS_IN_PROSE = re.compile(r"\w\s+et al\.")  # after a name; not in code that writes it


def references(root: Path) -> Library:
    """references.bib, with the names of the authors split into their parts."""
    return bibtexparser.parse_file(
        str(root / "references.bib"),
        append_middleware=[LatexDecodingMiddleware(), SeparateCoAuthors(), SplitNameParts()],
    )


def keys_in(root: Path) -> set[str]:
    return {entry.key for entry in references(root).entries}


def citations(root: Path) -> Iterator[tuple[str, str]]:
    """Each cited key, and the file that cites it."""
    for path in files(root, *CITING):
        for match in CITATION.finditer(path.read_text(encoding="utf-8")):
            for key in re.findall(KEY, match[1]):
                yield key, str(path.relative_to(root))


def files(root: Path, *patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]


def unknown_citations(root: Path) -> set[tuple[str, str]]:
    """Cited keys that references.bib does not have, with the citing file."""
    keys = keys_in(root)
    return {(key, path) for key, path in citations(root) if key not in keys}


def uncited_keys(root: Path) -> set[str]:
    return keys_in(root) - {key for key, _ in citations(root)}


def authors_in_prose(root: Path) -> set[str]:
    """Files of src/ and conf/ that name authors where a key should stand."""
    return {
        str(path.relative_to(root))
        for path in files(root, "src/**/*.*", "conf/**/*.yaml")
        if "__pycache__" not in path.parts
        and AUTHORS_IN_PROSE.search(path.read_text(encoding="utf-8"))
    }


def misnamed_keys(root: Path) -> dict[str, str]:
    """Keys that are not the first author's last name and the year, with the right key.

    A letter may follow the year, to tell apart two papers of one author and year.
    """
    expected = {}
    for entry in references(root).entries:
        first_author = entry["author"][0]
        name = unicodedata.normalize("NFKD", " ".join(first_author.last)).lower()
        expected[entry.key] = re.sub("[^a-z]", "", name) + entry["year"]
    return {
        key: right for key, right in expected.items() if not re.fullmatch(f"{right}[a-z]?", key)
    }


def test_every_cited_key_is_a_reference():
    assert unknown_citations(ROOT) == set()


def test_every_reference_is_cited():
    assert uncited_keys(ROOT) == set()


def test_code_and_configs_cite_keys_and_name_no_authors():
    assert authors_in_prose(ROOT) == set()


def test_a_key_is_the_first_author_s_last_name_and_the_year():
    assert misnamed_keys(ROOT) == {}


def test_the_bibliography_is_read_whole():
    library = references(ROOT)
    assert library.failed_blocks == []
    assert len(library.entries) == (ROOT / "references.bib").read_text().count("\n@")


BIBLIOGRAPHY = r"""
@article{elman1990, author = {Elman, Jeffrey L.}, title = {Finding structure}, year = {1990}}
@article{hochreiter1997, author = {Hochreiter, Sepp and Schmidhuber, J{\"u}rgen},
  title = {Long short-term memory}, year = {1997}}
@article{kegl2011, author = {K{\'e}gl, Bal{\'a}zs}, title = {Draws}, year = {2011}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without a mistake: three references, each cited once."""
    written = {
        "references.bib": BIBLIOGRAPHY,
        "src/package/rnn.py": '"""h_t = f(h_{t-1}) [elman1990]."""\nx = y[index2020z + 1]\n',
        "conf/model/lstm.yaml": "# A cell behind gates [hochreiter1997], section 4.\nlayers: [1]\n",
        "docs/design.md": "Two papers [elman1990; kegl2011].\n",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_a_project_without_a_mistake_passes(project: Path):
    assert unknown_citations(project) == set()
    assert uncited_keys(project) == set()
    assert authors_in_prose(project) == set()
    assert misnamed_keys(project) == {}


@pytest.mark.parametrize(
    "name", ["src/package/rnn.py", "conf/model/lstm.yaml", "docs/design.md", "README.md"]
)
def test_a_cited_key_without_a_reference_is_found(project: Path, name: str):
    (project / name).touch()
    append(project / name, "# [elman1990, jordan1986]\n")
    assert unknown_citations(project) == {("jordan1986", name)}


def test_a_reference_that_nothing_cites_is_found(project: Path):
    jordan = "@misc{jordan1986, author = {Jordan, Michael}, title = {Order}, year = {1986}}\n"
    append(project / "references.bib", jordan)
    assert uncited_keys(project) == {"jordan1986"}
    (project / "docs/design.md").unlink()
    assert uncited_keys(project) == {"jordan1986", "kegl2011"}


@pytest.mark.parametrize("name", ["src/package/rnn.py", "conf/model/lstm.yaml"])
def test_authors_in_the_place_of_a_key_are_found(project: Path, name: str):
    append(project / name, "# Le et al. 2015\n")
    assert authors_in_prose(project) == {name}


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("elman1990", "elman1991"), ("hochreiter1997", "schmidhuber1997"), ("kegl2011", "kgl2011")],
)
def test_a_misnamed_key_is_found(project: Path, key: str, wrong: str):
    (project / "references.bib").write_text(BIBLIOGRAPHY.replace(key, wrong), encoding="utf-8")
    assert misnamed_keys(project) == {wrong: key}


def test_a_letter_tells_apart_two_papers_of_a_year(project: Path):
    text = BIBLIOGRAPHY.replace("elman1990", "elman1990a")
    (project / "references.bib").write_text(text, encoding="utf-8")
    assert misnamed_keys(project) == {}
