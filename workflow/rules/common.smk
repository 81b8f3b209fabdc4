# Names and paths that the rules share. The plan (INDEX) says everything; nothing is composed here.
import os
import sys
from pathlib import Path
from shlex import quote

if workflow.exec_mode != ExecMode.DEFAULT:
    # A cluster's job inherits the environment; the main process's worker and ledger are not for it.
    for name in ("LOOKBACK_WORKER", "LOOKBACK_USAGE"):
        os.environ.pop(name, None)
os.environ["PYTHONPATH"] = str(Path(INDEX["code"]).absolute())
os.environ["PYTHONHASHSEED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")

NAME = INDEX["study"]["name"]
STUDY = f"results/{NAME}"
CELLS = INDEX["cells"]
URI = INDEX["uri"]
REPORT = f"{STUDY}/report/index.html"
DRAFT = f"{STUDY}/report/.drawn.html"
RECEIPT = f"{STUDY}/tracked/{INDEX['receipt']}.json"
# -P keeps the working directory out of the path: jobs import the copy of the code, nothing else.
LOOKBACK = f"{quote(sys.executable)} -P -m lookback"


# Light, or in need of a network: these run where the study was started, on a cluster too.
localrules:
    all,
    download,
    prepare,
    summarise,
    draw,
    track,
    report,


wildcard_constraints:
    task="[^/]+",
    model="[^/]+",


def cell(name):
    """A file of one cell."""
    return f"{STUDY}/{{task}}/{{model}}/{name}"


def planned(stage):
    """What the plan says of a job of this stage, by its wildcards."""
    whole_study = stage in ("summarise", "report", "track")

    def find(wildcards):
        if whole_study:
            return INDEX[stage]
        if stage == "download":
            return INDEX["datasets"][wildcards.dataset]
        if stage == "prepare":
            return INDEX["tasks"][wildcards.task]["prepare"]
        found = CELLS[f"{wildcards.task}/{wildcards.model}"][stage]
        return found if stage in ("tune", "train") else found[wildcards.get(stage)]

    return find


def plan_of(stage):
    """The plan file of a job: other content is another path, and so another run."""
    return lambda wildcards: planned(stage)(wildcards)["plan"]


def every_file_of_the_study():
    """All files of all cells: were it only the report, a hole would look like nothing to do."""
    measured = [
        f"{STUDY}/{name}/{folder}/{option}.{suffix}"
        for name, stages in CELLS.items()
        for folder, stage, suffix in (
            ("probe", "probe", "parquet"),
            ("explain", "explain", "npz"),
        )
        for option in stages[stage]
    ]
    trained = [f"{STUDY}/{name}/metrics.json" for name in CELLS]
    return [*trained, *measured, RECEIPT, REPORT]


def write_what_there_is():
    """The report and the tracking of what is there, with the holes named: after a failed job."""
    drawn = f"report plan={INDEX['report']['plan']} summary={STUDY}/summary"
    for rule, command in (
        (
            "summarise",
            f"summarise plan={INDEX['summarise']['plan']} out={STUDY}/summary",
        ),
        ("draw", f"{drawn} out={DRAFT}"),
        (
            "track",
            f"track plan={INDEX['track']['plan']} {quote(f'uri={URI}')} out={RECEIPT}",
        ),
        ("report", f"{drawn} out={REPORT}"),
    ):
        log = f"{STUDY}/log/{rule}.log"
        shell(f"mkdir -p {STUDY}/log && {LOOKBACK} {command} > {log} 2>&1 || true")


def end_of_study():
    """Stop the worker; say where the results are and what they cost."""
    SESSION.end(print_line)
    if Path(REPORT).exists():
        print_line(f"report     {REPORT}")
        shown = URI if URI.startswith("http") and "@" not in URI else "make ui"
        print_line(f"MLflow UI  {shown}")


def print_line(text):
    """On standard error, where Snakemake itself speaks; quiet where it was told to be."""
    if not workflow.output_settings.quiet:
        print(text, file=sys.stderr)


include: "download.smk"
include: "prepare.smk"
include: "train.smk"
include: "measure.smk"
include: "report.smk"
