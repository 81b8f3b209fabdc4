# lookback: `snakemake --cores N` runs study `quick`; `--config study=NAME` another one.
#
# The main process plans; each job, here or on a cluster, only reads the plan. The rules come from the
# copy of the code that the plan made, so an edit while a study runs touches no job.
import sys
from pathlib import Path

from snakemake_interface_executor_plugins.settings import ExecMode

if workflow.exec_mode == ExecMode.DEFAULT:
    sys.path.insert(0, str(Path(workflow.basedir) / "src"))
    from lookback.commands import session

    quiet = bool(workflow.output_settings.quiet)
    PLAN = str(session.plan(Path(workflow.basedir), config, quiet=quiet))
    # Internal to Snakemake, held by a test: how a cluster's jobs learn the plan's name.
    workflow.config_settings.config_args.append(f"plan_file={PLAN}")
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


rule all:
    default_target: True
    input:
        every_file_of_the_study(),
