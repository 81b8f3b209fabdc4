"""Plans copies of the project and runs their study `tiny` from nothing, each in a fork of its own.

    python from_nothing.py FOLDER ONLY_PLANNED…

Every folder in FOLDER is a project; it gets `planned.json`, the plan of each job, and `found.json`,
a digest of what each job's results mean; those named ONLY_PLANNED get the former alone. This process
has the libraries and nothing of lookback, so that a fork imports the project's own code.
"""

import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import captum.attr  # noqa: F401 - the libraries, once for all
import grimp  # noqa: F401
import hydra.utils  # noqa: F401
import jsonschema  # noqa: F401
import matplotlib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytorch_lightning  # noqa: F401
import scipy.stats  # noqa: F401
import torch
import yaml
from jinja2 import Environment
from matplotlib.figure import Figure

SIDE_BY_SIDE = os.cpu_count() or 1
STUDY = Path("results/tiny")
PLAN = re.compile(r"\b[0-9a-f]{16}\b")
SECONDS = re.compile(r"<td>\d+\.\d</td>")  # one decimal: the column «train s/seed» alone


def main(folder: Path, only_planned: list[str]) -> None:
    """Plan and run all projects, some side by side."""
    warm_up()
    running = 0
    for project in sorted(folder.iterdir()):
        if running == SIDE_BY_SIDE:
            os.wait()
            running -= 1
        in_a_fork(lambda project=project: do(project, runs=project.name not in only_planned))
        running += 1
    for _ in range(running):
        os.wait()


def warm_up() -> None:
    """Have matplotlib find its fonts and its grammar; a fork would each time."""
    with matplotlib.rc_context({"font.size": 9.0, "svg.fonttype": "none"}):
        figure = Figure(layout="constrained")
        figure.subplots().set(xscale="log", xlim=(1e-9, 1e9), title="log₁₀ ‖∂L/∂h‖")
        figure.savefig(io.StringIO(), format="svg")
    Environment(autoescape=True).from_string("{{ 1 }}").render()


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


def do(project: Path, *, runs: bool) -> None:
    """Plan from the project's own code, as the Snakefile does; run from the copy that it took."""
    os.chdir(project)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.waitpid(in_a_fork(plan), 0)
    index = json.loads(Path("index.json").read_text())
    sys.path.insert(0, str(Path(index["code"]).absolute()))
    if runs:
        run(index)
    Path("found.json").write_text(json.dumps(dict(found(index)) if runs else {}))


def plan() -> None:
    sys.path.insert(0, str(Path("src").absolute()))
    from lookback.plan import make
    from lookback.study import compose_study

    index = json.loads(make(Path(), compose_study(Path("conf"), "tiny")).read_text())
    Path("index.json").write_text(json.dumps(index))
    Path("planned.json").write_text(json.dumps(dict(planned(index))))


def planned(index: dict) -> Iterator[tuple[str, str]]:
    """Each job, and what Snakemake reruns it by: its plan, and the seeds whose files it declares."""
    for name, it in index["datasets"].items():
        yield f"download {name}", it["plan"]
    for name, it in index["tasks"].items():
        yield f"prepare {name}", it["prepare"]["plan"]
    for name, it in index["cells"].items():
        yield f"train {name}", f"{it['train']['plan']} {index['study']['seeds']}"
        for stage in ("probe", "explain"):
            for option, job in it[stage].items():
                yield f"{stage} {name} {option}", job["plan"]
    for stage in ("summarise", "report", "track"):
        yield stage, index[stage]["plan"]


def run(index: dict) -> None:
    """All stages but tracking, by the commands of the rules."""
    for name, it in index["datasets"].items():
        stage("download", plan=it["plan"], out=f"results/data/{name}/manifest.json")
    for name, it in index["tasks"].items():
        stage("prepare", plan=it["prepare"]["plan"], out=STUDY / name / "task.json")
    seeds = ",".join(map(str, index["study"]["seeds"]))
    for name, it in index["cells"].items():
        cell = STUDY / name
        facts = cell.parent / "task.json"
        stage("train", plan=it["train"]["plan"], task=facts, seeds=seeds, out=cell)
        for which, suffix in (("probe", "parquet"), ("explain", "npz")):
            for option, job in it[which].items():
                out = cell / which / f"{option}.{suffix}"
                stage(which, plan=job["plan"], cell=cell, out=out)
    stage("summarise", plan=index["summarise"]["plan"], out=STUDY / "summary")
    page = STUDY / "report/index.html"
    stage("report", plan=index["report"]["plan"], summary=STUDY / "summary", out=page)


def stage(name: str, **arguments: object) -> None:
    from lookback import cli

    assert cli.run([name, *(f"{key}={it}" for key, it in arguments.items())], forked=True) == 0


def found(index: dict) -> Iterator[tuple[str, str]]:
    """A digest of the results of each job."""
    for name in index["datasets"]:
        yield f"download {name}", digest(Path("results/data", name).glob("[!.]*"))
    for name in index["tasks"]:
        yield f"prepare {name}", digest([STUDY / name / "task.json"])
    for name, it in index["cells"].items():
        names = ("history.parquet", "metrics.json", "predictions.parquet", "checkpoints/*")
        yield f"train {name}", digest(path for it in names for path in (STUDY / name).glob(it))
        for which in ("probe", "explain"):
            for option in it[which]:
                yield f"{which} {name} {option}", digest((STUDY / name / which).glob(f"{option}.*"))
    tables = (path for path in (STUDY / "summary").iterdir() if path.stem != "cost")
    yield "summarise", digest(tables)
    yield "report", digest(path for path in (STUDY / "report").rglob("*") if path.is_file())


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
        return repr({key: it for key, it in yaml.safe_load(path.read_text()).items() if key != "plans"})
    if path.name.startswith("results_") and path.suffix == ".csv":
        return pd.read_csv(path).drop(columns="train_seconds").to_csv()
    text = SECONDS.sub("", path.read_text()) if path.suffix == ".html" else path.read_text()
    return PLAN.sub("", text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
