# lookback: how far back does a sequence model remember, and can its explanation be believed?
#
#   snakemake --cores N                         run the study `quick` of conf/study/
#   snakemake --cores N --config study=NAME     run another study
#   snakemake -n                                list the jobs that would run, and why
#
# A study is a grid of tasks × models × seeds. A cell is one task and one model, with all seeds.
#
#   download   once per dataset      fetch the files and verify them by SHA-256
#   prepare    once per task         shapes, classes, scaling, baselines, digest of the data
#   tune       once per cell         only if the study tunes: choose hyperparameters by validation
#   train      once per cell         train every seed; write scores, predictions, weights and cost
#   probe      per cell and probe    measure memory in the trained networks, e.g. recall by lag
#   explain    per cell, explainer   attribute predictions to time steps; score the attributions
#   summarise  once per study        tables over cells with confidence intervals
#   draw       once per study        draw the figures of the report
#   track      once per study        send parameters, scores, curves and figures to MLflow
#   report     once per study        one HTML page, with links to the MLflow runs
#
# Snakemake's main process reads conf/ and writes the plan: the settings of every job, with a
# fingerprint of the code that the job imports. Jobs only read the plan. A job runs again if its own
# settings or its own code changed. Rules and jobs use the copy of the code that the plan made, so
# editing the code while a study runs changes no job.
import sys
from pathlib import Path

from snakemake_interface_executor_plugins.settings import ExecMode

if workflow.exec_mode == ExecMode.DEFAULT:
    sys.path.insert(0, str(Path(workflow.basedir) / "src"))
    from lookback.commands import session

    # `config_settings` and `resource_settings` are internal to Snakemake, so tests check that they
    # still work.
    PLAN = str(
        session.plan(
            Path(workflow.basedir),
            config,
            workflow.config_settings.config_args,
            nodes=workflow.resource_settings.nodes,
            dry_run=workflow.output_settings.dryrun,
            quiet=bool(workflow.output_settings.quiet),
        )
    )
    # Jobs on a cluster get the name of the plan as their only `--config`, so that no override is an
    # argument of a process.
    workflow.config_settings.config_args = [f"plan_file={PLAN}"]
else:
    PLAN = config["plan_file"]


from json import loads

INDEX = loads(Path(PLAN).read_text(encoding="utf-8"))


include: f"{Path(INDEX['code']).absolute()}/workflow/rules/common.smk"


if workflow.exec_mode == ExecMode.DEFAULT:
    SESSION = session.Session(Path(PLAN), INDEX["code"])


onstart:
    SESSION.start()


onsuccess:
    end_of_study()


onerror:
    write_what_there_is()
    end_of_study()


# The target of a study: the files of every cell, the tracking receipt, and the report.
rule all:
    default_target: True
    input:
        every_file_of_the_study(),
