"""Overrides whose brackets hold commas or spaces, such as `trainer.budget={steps: 30}`.

A shell splits an override without quotes at its spaces. YAML does not read a bracket inside an
entry of the list `overrides=[…]`. This module imports nothing heavy, because every command of
lookback imports the module.
"""

from collections.abc import Iterator, Sequence

from lookback.errors import UserError

CLOSING = {"(": ")", "[": "]", "{": "}"}


def joined(words: Sequence[str]) -> list[str]:
    """The words of a command line, joined by spaces where a bracket is not closed in its word.

    `["trainer.budget={steps:", "30}"]` gives `["trainer.budget={steps: 30}"]`. Raises UserError if
    a bracket is never closed.
    """
    whole: list[str] = []
    pending: list[str] = []
    for word in words:
        pending.append(word)
        if not _open_brackets(" ".join(pending)):
            whole.append(" ".join(pending))
            pending = []
    if pending:
        raise UserError(
            f"'{' '.join(pending)}' opens a bracket that is not closed.\nPut an override with "
            "brackets in quotes: 'trainer.budget={steps: 30}'."
        )
    return whole


def entries_of(text: str) -> list[str]:
    """The overrides in `overrides=TEXT`: one override, or a list `[a.b=1, c.d={e: 2}]`.

    Quotes around a whole entry are removed. Raises UserError if a bracket or a quote is not closed.
    """
    text = text.strip()
    if mistake := _mistake(text):
        raise UserError(
            f"overrides={text} {mistake}.\nPut the whole list in quotes: "
            "--config 'overrides=[trainer.max_epochs=2, recipe.clip=null]'."
        )
    if not text.startswith("["):
        return [text] if text else []
    entries = (entry.strip() for entry in _split(text[1:-1]))
    return [_unquoted(entry) for entry in entries if entry]


def _mistake(text: str) -> str:
    """What is wrong with the brackets and the quotes of a text, or an empty string."""
    closing, end, last = "", 0, 0
    for last, character, still_open in _outside_quotes(text + " "):
        if character in CLOSING.values() and len(still_open) == len(closing):
            needed = f" where '{closing[-1]}' is needed" if closing else ""
            return f"has '{character}'{needed}, which closes no bracket"
        closing, end = still_open, end if still_open else end or last + 1
    if last < len(text):  # the space at the end is inside a quote
        return "opens a quote that is not closed"
    if closing:
        return "opens a bracket that is not closed"
    return "goes on after its closing ']'" if text.startswith("[") and end < len(text) else ""


def _unquoted(entry: str) -> str:
    """An entry without the quotes around all of it."""
    is_quoted = len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "\"'"
    return entry[1:-1] if is_quoted else entry


def _split(text: str) -> Iterator[str]:
    """The parts of a text between commas that are outside brackets and quotes."""
    start = 0
    for place, character, closing in _outside_quotes(text):
        if character == "," and not closing:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _open_brackets(text: str) -> str:
    """The brackets that would close those that are open at the end of a text."""
    closing = ""
    for _, _, closing in _outside_quotes(text):  # noqa: B007
        pass
    return closing


def _outside_quotes(text: str) -> Iterator[tuple[int, str, str]]:
    """Each character outside quotes, with its place and the brackets that would close the text."""
    closing, quote = "", ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[place - 1] != "\\" else quote
            continue
        if character in "\"'":
            quote = character
        elif character in CLOSING:
            closing += CLOSING[character]
        elif closing and character == closing[-1]:
            closing = closing[:-1]
        yield place, character, closing
