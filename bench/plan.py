"""Compares the time and memory of planning a study with Snakemake alone on the same graph of jobs.

Each cell of the study has three jobs: train, one probe and one explainer. The bare Snakefile has
these three rules with the same numbers of input and output files, and one plan file per cell. Both
dry runs use the same Python and the same options, in turns: `snakemake -n`, which prints every job,
and `snakemake -n --quiet`, in which Snakemake leaves out its scheduler. The study has no results,
so every job is planned.

    python bench/plan.py [cells …]      (default: 100 1000 10000)

Prints seconds, peak memory and their ratios. The first dry run of a study writes the plan files,
and the second dry run finds them. Writes bench/results/plan.json with machine, versions and commit.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from writing import ROOT, write

SIZES = (100, 1000, 10_000)
PARTS = ("Snakefile", "references.bib", "conf", "profiles", "src", "workflow")

BARE = """
from pathlib import Path
CELLS = [path.stem for path in sorted(Path("plans").glob("*.yaml"))]

rule all:
    input: [f"out/{c}/{name}" for c in CELLS for name in ("metrics.json", "probe", "explain")]

rule train:
    input: plan="plans/{cell}.yaml"
    output: [f"out/{{cell}}/{n}" for n in ("config", "history", "metrics.json", "cost", "ckpt")]
    log: "out/{cell}/log/train.log"
    shell: "train {input.plan:q} {output:q} > {log:q}"

rule probe:
    input: plan="plans/{cell}.yaml", metrics="out/{cell}/metrics.json", ckpt="out/{cell}/ckpt"
    output: "out/{cell}/probe"
    log: "out/{cell}/log/probe.log"
    shell: "probe {input.plan:q} {output:q} > {log:q}"

rule explain:
    input: plan="plans/{cell}.yaml", metrics="out/{cell}/metrics.json", ckpt="out/{cell}/ckpt"
    output: "out/{cell}/explain", "out/{cell}/scores"
    log: "out/{cell}/log/explain.log"
    shell: "explain {input.plan:q} {output:q} > {log:q}"
"""


def dry_run(folder: Path, *arguments: str) -> tuple[float, float]:
    """The wall time in seconds and the peak memory in MiB of one dry run in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "-n", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    start = time.monotonic()
    process = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", f'cd "{folder}" && exec "$@" > dry-run.log 2>&1', "sh", *command],
        environment,
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError((folder / "dry-run.log").read_text()[-2000:])
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes per unit of ru_maxrss
    return time.monotonic() - start, usage.ru_maxrss * unit / 2**20


def study_of(cells: int) -> str:
    """A study with this number of cells: at most 100 models on as many tasks as needed."""
    models = min(cells, 100)
    lines = ["# How long does planning take?", "tasks:"]
    lines += [
        f"  adding{i}: {{base: adding, overrides: [task.length={i + 9}]}}"
        for i in range(cells // models)
    ]
    lines += ["models:"]
    lines += [
        f"  gru{i}: {{base: gru, overrides: [model.hidden_size={i + 2}]}}" for i in range(models)
    ]
    return "\n".join([*lines, "seeds: 1", "probes: [gradient_flow]", "explainers: [occlusion]", ""])


def measured(cells: int, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    project, bare = folder / "project", folder / "bare"
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        project.mkdir(exist_ok=True)
        copy(ROOT / part, project / part)
    (project / "conf/study/many.yaml").write_text(study_of(cells))
    (bare / "plans").mkdir(parents=True)
    (bare / "Snakefile").write_text(BARE)
    for cell in range(cells):
        (bare / f"plans/{cell}.yaml").write_text("{}\n")
    first, _ = dry_run(project, "--config", "study=many")
    row: dict[str, Any] = {"cells": cells, "first_seconds": first}
    for mode, options in {"": (), "quiet_": ("--quiet",)}.items():
        alone, alone_memory = dry_run(bare, *options)
        seconds, memory = dry_run(project, *options, "--config", "study=many")
        row |= {
            f"{mode}seconds": seconds,
            f"{mode}bare_seconds": alone,
            f"{mode}time_ratio": seconds / alone,
            f"{mode}mib": memory,
            f"{mode}bare_mib": alone_memory,
            f"{mode}memory_ratio": memory / alone_memory,
        }
    return row


COLUMNS = {"seconds": "s", "bare_seconds": "bare s", "time_ratio": "ratio"}
COLUMNS |= {"mib": "MiB", "bare_mib": "bare MiB", "memory_ratio": "ratio"}


def main() -> None:
    """Measure all sizes, print the table and write the results."""
    rows = []
    names = [f"{mode}{name}" for mode in ("", "quiet_") for name in COLUMNS]
    heads = [*COLUMNS.values(), *(f"quiet {title}" for title in COLUMNS.values())]
    print(f"{'cells':>6}{'first s':>9}" + "".join(f"{head:>15}" for head in heads))
    for cells in [int(word) for word in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            row = measured(cells, Path(folder))
        rows.append(row)
        values = "".join(f"{row[name]:>15.2f}" for name in names)
        print(f"{cells:>6}{row['first_seconds']:>9.1f}{values}", flush=True)
    write("plan", rows=rows)


if __name__ == "__main__":
    main()
