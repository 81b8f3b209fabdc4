"""Check the names of studies, tasks, models and all other options.

A name becomes a folder or a file of results/, a word of a shell command, and a part of a page. The
characters of NAME have no meaning in a shell, in a URL, in HTML and in Snakemake's patterns.
"""

import re
from collections.abc import Iterable

from lookback.errors import UserError

# The longest file name that is made from names is «.<probe>_<task>.<process>.svg». With two names
# of 100 characters, it stays below the 255 bytes that file systems allow.
LONGEST = 100
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST - 1}}}")
REQUIREMENT = (
    "a name of ASCII letters, digits, '_', '.' and '-' that begins with a letter or digit and has "
    f"at most {LONGEST} characters"
)
# Names in lower case that a study, a task or a model cannot have, because results/, the folder of a
# study or the folder of a task contains a file or folder with this name.
RESERVED = {
    "study": {"data", "mlflow.db", "mlartifacts", "readme.md"},
    "task": {"summary", "report", "tracked", "log"},
    "model": {"summary", "report", "tracked", "log", "task.json"},
}
BY_HAND = "by-hand"  # the study of `lookback train task=… model=…`


def is_name(text: object) -> bool:
    """Whether `text` is a string that can be a name."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def check_name(group: str, name: str, where: str) -> None:
    """Raise UserError if `name` is not a valid name for an option of the group `group`.

    `group` is «study», «task», «model» or another group of conf/. The error message begins with
    `where`.
    """
    if not is_name(name):
        raise UserError(
            f"{where}: the {group} name '{name}' cannot be used; it should be {REQUIREMENT}."
        )
    word = name.lower()  # macOS does not distinguish upper and lower case in file names
    if word in RESERVED.get(group, ()):
        raise UserError(
            f"{where}: the {group} name '{name}' cannot be used, because results/ has a file or "
            "folder of this name. Choose another name."
        )
    if group == "study" and word.startswith(BY_HAND):
        raise UserError(
            f"{where}: the study name '{name}' cannot be used, because '{BY_HAND}' begins the "
            "names of runs by hand. Choose another name."
        )


def check_names(group: str, names: Iterable[str], where: str) -> None:
    """Check each of `names` with `check_name`, and that the names differ on every file system.

    Raises UserError if two names differ only in upper and lower case, which macOS does not
    distinguish in the names of files.
    """
    seen: dict[str, str] = {}
    for name in names:
        check_name(group, name, where)
        before = seen.setdefault(name.lower(), name)
        if before != name:
            raise UserError(
                f"{where}: the {group} names '{before}' and '{name}' differ only in upper and "
                "lower case, which some file systems do not distinguish. Rename one of them."
            )
