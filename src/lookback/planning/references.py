"""Citations of papers as text, made from the entries of references.bib by their BibTeX key."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from lookback.errors import UserError, nearest
from lookback.storage.paths import PROJECT

BIBLIOGRAPHY = PROJECT / "references.bib"
KEY = re.compile(r"[a-z]+\d{4}[a-z]?")  # first author and year: elman1990


def citation(key: str) -> str:
    """The citation of a paper, such as «Elman 1990, "Finding structure in time"».

    The citation ends with the arXiv number of the paper, if the paper has one. Raises UserError if
    references.bib does not contain `key`.
    """
    papers = _papers(BIBLIOGRAPHY)
    if key not in papers:
        near = nearest(key, papers)
        hint = f" Did you mean '{near}'?" if near else ""
        raise UserError(f"the paper '{key}' is not in references.bib.{hint}")
    return papers[key]


@cache
def _papers(path: Path) -> dict[str, str]:
    from bibtexparser import middlewares
    from bibtexparser.entrypoint import parse_file

    library = parse_file(
        str(path),
        append_middleware=[
            middlewares.LatexDecodingMiddleware(),
            middlewares.SeparateCoAuthors(),
            middlewares.SplitNameParts(),
        ],
    )
    return {
        entry.key: _text({field.key: field.value for field in entry.fields})
        for entry in library.entries
    }


def _text(fields: dict[str, Any]) -> str:
    names = [" ".join([*name.von, *name.last]) for name in fields["author"]]
    authors = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    authors = f"{names[0]} et al." if len(names) > 3 else authors
    number = f", arXiv:{fields['eprint']}" if "eprint" in fields else ""
    title = str(fields["title"]).translate({ord("{"): None, ord("}"): None})
    return f'{authors} {fields["year"]}, "{title}"{number}'
