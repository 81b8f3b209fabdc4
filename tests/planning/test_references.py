"""Papers are cited by the key of references.bib."""

import pytest

from lookback.errors import UserError
from lookback.planning import references
from lookback.planning.references import citation


def test_a_citation_has_authors_year_title_and_number():
    assert citation("elman1990") == 'Elman 1990, "Finding structure in time"'
    assert citation("gu2022") == (
        'Gu, Goel and Ré 2022, "Efficiently modeling long sequences with structured state spaces", '
        "arXiv:2111.00396"
    )
    assert citation("cho2014").startswith("Cho et al. 2014, ")


def test_a_key_that_is_not_there_is_answered_with_the_nearest(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'elman1991' is not in references\.bib.*'elman1990'"):
        citation("elman1991")
    papers = tmp_path / "references.bib"
    papers.write_text("@article{doe2000,\n author = {Doe, Jane}, title = {T}, year = {2000}\n}")
    monkeypatch.setattr(references, "BIBLIOGRAPHY", papers)
    assert citation("doe2000") == 'Doe 2000, "T"'
