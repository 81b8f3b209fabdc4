"""Parse Python modules, and name the file and line of a mistake in their syntax."""

import ast
from pathlib import Path

from lookback.errors import UserError


def parse_source(path: Path, shown: Path) -> ast.Module:
    """The syntax tree of the module in the file `path`.

    Raises UserError if Python cannot parse the file, or if the file cannot be read. The error
    message calls the file `shown`.
    """
    try:
        # Only a plain file is opened, because opening a FIFO would wait for ever.
        source = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.") from error
    if source is None:
        raise UserError(f"{shown} cannot be read: it is not a file.")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        # Python tells no line for a null byte.
        number = source[: source.find(b"\0")].count(b"\n") + 1 if b"\0" in source else error.lineno
        line = f", line {number}" if number else ""
        raise UserError(f"{shown}{line}: {error.msg}. No job was started.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{shown} cannot be parsed as Python: {str(error) or type(error).__name__}. "
            "No job was started."
        ) from error
