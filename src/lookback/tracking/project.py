"""The identity of a folder results/, by which MLflow tells apart projects with equal study names.

The identity is bound to its place, because a copy of results/ is another project: the copy must not
supersede the runs of the original on a shared MLflow server.
"""

import json
import socket
import sys
import uuid
from dataclasses import asdict, dataclass, replace

from filelock import FileLock

from lookback.storage.atomic import write_json
from lookback.storage.paths import RESULTS, TRACKING

FILE = TRACKING / "project"


@dataclass(frozen=True)
class Project:
    """The random identifier of a folder results/, and the place for which it is valid."""

    project: str
    host: str
    path: str
    inodes: tuple[int, ...]  # of results/ and results/.tracking, which a copy does not keep
    # The identifiers of the projects of which this folder is a copy, the oldest first.
    ancestors: tuple[str, ...] = ()

    @classmethod
    def here(cls, project: str, ancestors: tuple[str, ...] = ()) -> "Project":
        """The identifier `project`, valid for the present place of results/."""
        inodes = tuple(folder.stat().st_ino for folder in (RESULTS, TRACKING))
        return cls(project, socket.gethostname(), str(RESULTS.resolve()), inodes, ancestors)


def identity() -> str:
    """The random identifier of this folder results/. The first call creates the identifier."""
    return current_project().project


def current_project() -> Project:
    """The identity of this folder results/.

    The identity stays valid if results/ was moved within a file system, is seen from another host,
    or was restored at its old place. Otherwise results/ is a copy: it gets a new identifier, and
    one line is printed.
    """
    TRACKING.mkdir(parents=True, exist_ok=True)
    with FileLock(FILE.with_suffix(".lock")):
        recorded = _recorded()
        if recorded is None:
            project = Project.here(str(uuid.uuid4()))
        else:
            project = Project.here(recorded.project, recorded.ancestors)
            is_moved = recorded.inodes == project.inodes
            is_restored = (recorded.host, recorded.path) == (project.host, project.path)
            if not (is_moved or is_restored or not recorded.path):
                ancestors = (*recorded.ancestors, recorded.project)
                project = replace(project, project=str(uuid.uuid4()), ancestors=ancestors)
                print(
                    f"lookback: results/ is a copy of {recorded.path} on {recorded.host}; from now "
                    "on it is a project of its own, and the runs of the original stay as they are",
                    file=sys.stderr,
                )
        if project != recorded:
            write_json(FILE, asdict(project))
    return project


def _recorded() -> Project | None:
    """The content of the identity file, or None if the file does not exist or is damaged.

    An older version of lookback wrote the identifier alone; its place is then empty.
    """
    try:
        text = FILE.read_text(encoding="utf-8")
        if not text.startswith("{"):
            return Project(str(uuid.UUID(text.strip())), "", "", ())
        found = json.loads(text)
        return Project(
            **{**found, "inodes": tuple(found["inodes"]), "ancestors": tuple(found["ancestors"])}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
