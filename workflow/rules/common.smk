# Names and functions that all rules share. INDEX is the content of the study's index file: it names
# the plan of every job. No rule reads conf/.
import os
import sys
from inspect import signature
from pathlib import Path
from shlex import quote

if workflow.exec_mode != ExecMode.DEFAULT:
    # A job on a cluster inherits the environment of the main process, but cannot use its worker
    # process and its file of CPU times.
    for name in ("LOOKBACK_WORKER", "LOOKBACK_USAGE"):
        os.environ.pop(name, None)
os.environ["PYTHONPATH"] = str(Path(INDEX["code"]).absolute())
os.environ["PYTHONHASHSEED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")

NAME = INDEX["study"]["name"]
STUDY = f"results/{NAME}"
CELLS = INDEX["cells"]
STAGES_OF_STUDY = ("summarise", "report", "track")  # each has one plan
URI = INDEX["uri"]  # without the password, if there is one
REPORT = f"{STUDY}/report/index.html"
DRAFT = f"{STUDY}/report/.drawn.html"
RECEIPT = f"{STUDY}/tracked/{INDEX['receipt']}.json"
# -P keeps the working directory out of sys.path, so jobs import only the copy of the code.
LOOKBACK = f"{quote(sys.executable)} -P -m lookback"


# On a cluster, these rules run on the machine where the study was started: they are short, or they
# need a network.
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
    """The path of a file of a cell, with the wildcards task and model."""
    return f"{STUDY}/{{task}}/{{model}}/{name}"


def function_of_job(function):
    """The function, with its signature stored. Snakemake inspects the signature for every job."""
    function.__signature__ = signature(function)
    return function


def planned(stage):
    """A function from the wildcards of a job to the job's entry in the index."""

    def find(wildcards):
        if stage in STAGES_OF_STUDY:
            return INDEX[stage]
        if stage == "download":
            return INDEX["datasets"][wildcards.dataset]
        if stage == "prepare":
            return INDEX["tasks"][wildcards.task]["prepare"]
        entry = CELLS[f"{wildcards.task}/{wildcards.model}"][stage]
        return entry if stage in ("tune", "train") else entry[wildcards.get(stage)]

    return find


def plan_of(stage):
    """A function from the wildcards of a job to its plan file.

    If the plan's content changes, its path changes, so Snakemake runs the job again.
    """
    entry_of = planned(stage)
    return function_of_job(lambda wildcards: entry_of(wildcards)["plan"])


def every_file_of_the_study():
    """All files of all tasks and cells, the summary, the receipt and the report.

    The report alone is not enough: it exists even if a cell failed, and Snakemake would then find
    nothing to do. Files between the stages are listed, too, so that a deleted file is made again.
    """
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
    prepared = [f"{STUDY}/{task}/task.json" for task in INDEX["tasks"]]
    tuned = [f"{STUDY}/{name}/tune.json" for name in CELLS if "tune" in CELLS[name]]
    shared = [f"{STUDY}/summary", DRAFT, RECEIPT, REPORT]
    return [*prepared, *tuned, *trained, *measured, *shared]


def write_what_there_is():
    """After a failed job: summarise, draw, track and report the results that exist.

    Tables and report name the missing results.
    """
    plan = {stage: quote(f"plan={INDEX[stage]['plan']}") for stage in STAGES_OF_STUDY}
    summary, draft = quote(f"{STUDY}/summary"), quote(DRAFT)
    drawn = f"report {plan['report']} summary={summary}"
    for rule, command in (
        (
            "summarise",
            f"summarise {plan['summarise']} out={summary}",
        ),
        ("draw", f"{drawn} out={draft}"),
        (
            "track",
            f"track {plan['track']} out={quote(RECEIPT)}",
        ),
        ("report", f"{drawn} out={quote(REPORT)}"),
    ):
        folder, log = quote(f"{STUDY}/log"), quote(f"{STUDY}/log/{rule}.log")
        shell(f"mkdir -p {folder} && {LOOKBACK} {command} > {log} 2>&1 || true")


def end_of_study():
    """Stop the worker; print the CPU seconds of each stage, and where the results are."""
    SESSION.end(print_line)
    if Path(REPORT).exists():
        print_line(f"report     {REPORT}")
        shown = URI if URI.startswith("http") else "make ui"
        print_line(f"MLflow UI  {shown}")


def print_line(text):
    """Print to standard error, as Snakemake does; print nothing with `snakemake --quiet`."""
    if not workflow.output_settings.quiet:
        print(text, file=sys.stderr)


include: "download.smk"
include: "prepare.smk"
include: "train.smk"
include: "measure.smk"
include: "report.smk"
