"""Plans copies of the project and runs their study `tiny` from nothing, each in a fork of its own.

    python from_nothing.py FOLDER ONLY_PLANNED…

Every folder in FOLDER is a project. It gets `jobs.json`, with the plan of each job and the jobs
that it comes after, and `found.json`, with a digest of what its results mean; those named
ONLY_PLANNED get only the former. Its `base.txt` names the project that it is an edit of: a job that
comes after one whose results differ from those there is not run, since what it reads is changed.
This process has the libraries and nothing of lookback, so that a fork imports the project's own
code.
"""

import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import captum.attr  # noqa: F401 - the libraries, once for all
import grimp  # noqa: F401
import hydra.utils  # noqa: F401
import jinja2  # noqa: F401
import jsonschema  # noqa: F401
import matplotlib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytorch_lightning  # noqa: F401
import scipy.stats  # noqa: F401
import torch
from matplotlib.figure import Figure

SIDE_BY_SIDE = os.cpu_count() or 1
STUDY = Path("results/tiny")
PLAN = re.compile(r"\b[0-9a-f]{16}\b")
SECONDS = re.compile(r"<td>\d+\.\d</td>")  # one decimal: the columns «train s», at least
BELOW = "not run: it comes after a change"


@dataclass(frozen=True)
class Job:
    """A job: what Snakemake reruns it by, what it comes after, how it is run, what it leaves."""

    name: str
    plan: str
    after: list[str]
    arguments: dict[str, Any]
    results: Callable[[], Iterator[Path]]


def main(folder: Path, only_planned: list[str]) -> None:
    """Plan and run all projects, those first that others are held against (`base.txt`)."""
    warm_up()
    projects = sorted(folder.iterdir())
    bases = {project: folder / (project / "base.txt").read_text() for project in projects}
    for base in sorted(set(bases.values())):
        in_a_fork(lambda base=base: do(base, base, runs=True))
        os.wait()
    running = 0
    for project in projects:
        if project in bases.values():
            continue
        if running == SIDE_BY_SIDE:
            os.wait()
            running -= 1
        runs = project.name not in only_planned
        in_a_fork(lambda project=project, runs=runs: do(project, bases[project], runs=runs))
        running += 1
    for _ in range(running):
        os.wait()


def warm_up() -> None:
    """Have matplotlib find its fonts and its grammar; a fork would each time."""
    with matplotlib.rc_context({"font.size": 9.0, "svg.fonttype": "none"}):
        figure = Figure(layout="constrained")
        figure.subplots().set(xscale="log", xlim=(1e-9, 1e9), title="log₁₀ ‖∂L/∂h‖")
        figure.savefig(io.StringIO(), format="svg")


def in_a_fork(act: Callable[[], None]) -> int:
    """Start a process that acts and leaves; its id."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def do(project: Path, base: Path, *, runs: bool) -> None:
    """Plan from the project's own code, as the Snakefile does; run from the copy that it took."""
    os.chdir(project)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.waitpid(in_a_fork(plan), 0)
    index = json.loads(Path("index.json").read_text())
    planned = jobs(index)
    said = {job.name: {"plan": job.plan, "after": job.after} for job in planned}
    Path("jobs.json").write_text(json.dumps(said))
    if runs:
        sys.path.insert(0, str(Path(index["code"]).absolute()))
        known = None if project == base else json.loads((base / "found.json").read_text())
        Path("found.json").write_text(json.dumps(run(planned, known)))


def plan() -> None:
    sys.path.insert(0, str(Path("src").absolute()))
    from lookback.planning.plan import make
    from lookback.planning.study import compose_study

    index = make(Path(), compose_study(Path("conf"), "tiny"))
    Path("index.json").write_text(index.read_text())


def jobs(index: dict[str, Any]) -> list[Job]:
    """All jobs, in the order of the flow; of tracking only what is planned."""
    found = []
    for name, it in index["datasets"].items():
        out = Path("results/data", name, "manifest.json")
        found.append(job("download", name, it, [], {"out": out}, (out.parent, "[!.]*")))
    for name, it in index["tasks"].items():
        out, file = STUDY / name / "task.json", (STUDY / name, "task.json")
        after = [f"download {it['dataset']}"] if it["dataset"] else []
        found.append(job("prepare", name, it["prepare"], after, {"out": out}, file))
    for name, it in index["cells"].items():
        found += jobs_of_cell(name, it, index["study"]["seeds"])
    after, out = [one.name for one in found], STUDY / "summary"
    tables = [(out, "[!c]*")]  # all but cost, which has times
    found.append(job("summarise", "", index["summarise"], after, {"out": out}, *tables))
    page = STUDY / "report/index.html"
    arguments = {"summary": out, "out": page}
    files = (page.parent, "**/*.*")
    found.append(job("report", "", index["report"], ["summarise"], arguments, files))
    return [*found, job("track", "", index["track"], ["report"], {})]


def jobs_of_cell(name: str, stages: dict[str, Any], seeds: list[int]) -> Iterator[Job]:
    """Training, whose files are declared by seed, and all that measures it."""
    cell = STUDY / name
    prepared, facts = f"prepare {cell.parent.name}", cell.parent / "task.json"
    arguments = {"task": facts, "seeds": ",".join(map(str, seeds)), "out": cell}
    declared = {"plan": stages["train"]["plan"], "seeds": seeds}
    names = ("history.*", "metrics.*", "predictions.*", "checkpoints/seed=*")
    files, before = [(cell, each) for each in names], [prepared]
    if "tune" in stages:
        tuning = {"task": facts, "out": cell / "tune.json"}
        yield job("tune", name, stages["tune"], before, tuning, (cell, "tune.json"))
        before = [prepared, f"tune {name}"]
    yield job("train", name, declared, before, arguments, *files)
    for stage, suffix in (("probe", "parquet"), ("explain", "npz")):
        for option, it in stages[stage].items():
            arguments = {"cell": cell, "out": cell / stage / f"{option}.{suffix}"}
            after, file = [prepared, f"train {name}"], (cell / stage, f"{option}.*")
            yield job(stage, f"{name} {option}", it, after, arguments, file)


def job(
    stage: str,
    name: str,
    planned: dict[str, Any],
    after: list[str],
    arguments: dict[str, Any],
    *results: tuple[Path, str],
) -> Job:
    return Job(
        name=f"{stage} {name}".strip(),
        plan=f"{planned['plan']} {planned.get('seeds', '')}".strip(),
        after=after,
        arguments={"plan": planned["plan"], **arguments},
        results=lambda: (path for folder, names in results for path in folder.glob(names)),
    )


def run(planned: list[Job], known: dict[str, str] | None) -> dict[str, str]:
    """Run the jobs by the commands of the rules; a digest of what each one's results mean."""
    from lookback.commands import dispatch

    found: dict[str, str] = {}
    for job in planned:
        if job.name == "track":
            continue
        if known and any(found[name] != known.get(name) for name in job.after):
            found[job.name] = BELOW
            continue
        words = [job.name.split()[0], *(f"{key}={it}" for key, it in job.arguments.items())]
        assert dispatch.run(words, forked=True) == 0
        found[job.name] = digest(job.results())
    return found


def digest(paths: Iterator[Path]) -> str:
    meanings = {str(path): meaning(path) for path in paths}
    assert meanings
    return hashlib.sha256(repr(sorted(meanings.items())).encode()).hexdigest()[:16]


def meaning(path: Path) -> str:
    """What a result says, without the plans it came by and without times."""
    if path.suffix == ".parquet":
        frame = pq.read_table(path).to_pandas()
        return f"{frame.to_csv()} {list(frame.dtypes)}"
    if path.suffix == ".npz":
        arrays = np.load(path)
        return repr([(n, a.dtype, a.shape, a.tobytes()) for n, a in arrays.items() if n != "plans"])
    if path.suffix == ".ckpt":
        weights = torch.load(path, weights_only=True)
        return repr([(name, it.shape, it.numpy().tobytes()) for name, it in weights.items()])
    if path.suffix == ".json":
        # These digests are of results that hold the plans. The results are looked at themselves.
        left_out = {"plans"} if path.name == "manifest.json" else {"plans", "files"}
        said = json.loads(path.read_text())
        return repr([(key, it) for key, it in said.items() if key not in left_out])
    if path.name.startswith(("results_", "memory_card")) and path.suffix == ".csv":
        return pd.read_csv(path).drop(columns="train_seconds").to_csv()
    text = SECONDS.sub("", path.read_text()) if path.suffix == ".html" else path.read_text()
    return PLAN.sub("", text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
