"""Commands with options such as `--data FILE`; a mistake is a UserError with the nearest option."""

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from lookback.errors import UserError, nearest


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"`{self.prog}`: {message}.\n{self.format_usage().strip()}")


def parsed(
    command: str,
    first: str,
    options: Mapping[str, str],
    switches: Sequence[str],
    words: Sequence[str],
) -> argparse.Namespace:
    """The arguments of `lookback command FIRST --option VALUE … --switch`.

    `options` maps the name of each option to its description. An option whose description holds
    «(required)» must be given. Each value is a text. Raises UserError if `words` are wrong.
    """
    parser = _Parser(prog=f"lookback {command}", add_help=False, allow_abbrev=False)
    parser.add_argument(first)
    for option, text in options.items():
        parser.add_argument(f"--{option}", required="(required)" in text)
    for switch in switches:
        parser.add_argument(f"--{switch}", action="store_true")
    known = [f"--{name}" for name in (*options, *switches)]
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in known:
            near = nearest(option, known)
            hint = f" Did you mean {near}?" if near else ""
            raise UserError(f"`{parser.prog}` has no option {option}.{hint}")
    return parser.parse_args(words)
