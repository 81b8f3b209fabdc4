"""Parse Python modules, and name the file and line of a mistake in their syntax."""

import ast
from pathlib import Path

from lookback.errors import UserError


def parse_source(path: Path, shown: Path) -> ast.Module:
    """The syntax tree of the module in the file `path`.

    Raises UserError if Python cannot parse the file. The error message calls the file `shown`.
    """
    source = path.read_bytes()
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
