"""What the command line of Snakemake says: the study, its overrides, and who runs the jobs."""

import contextlib
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lookback.errors import UserError
from lookback.planning.brackets import entries_of
from lookback.planning.study import DEFAULT_STUDY
from lookback.planning.validate_settings import did_you_mean

CONFIG_KEYS = ("study", "overrides")  # the keys that `snakemake --config` accepts


def study_and_overrides(config: Mapping[str, Any], words: Sequence[str]) -> tuple[str, list[str]]:
    """The name of the study and the overrides that `snakemake --config` gives.

    `config` is Snakemake's reading of the entries `words`, such as «study=mine». Snakemake reads
    some names as numbers: 2024_01 becomes 202401. The text is therefore taken from `words`. Raises
    UserError if there is another key, or if a value in a file of settings has the wrong type.
    """
    texts = dict(word.split("=", 1) for word in words if "=" in word)
    overrides = entries_of(texts["overrides"]) if "overrides" in texts else None
    for key in config:
        if key not in CONFIG_KEYS:
            raise UserError(f"--config does not know '{key}'.\n" + did_you_mean(key, CONFIG_KEYS))
    study = texts.get("study", config.get("study", DEFAULT_STUDY))
    if not isinstance(study, str):
        raise UserError(f"YAML reads the study {study} as a {type(study).__name__}. Quote it.")
    if overrides is None:
        given = config.get("overrides", [])
        overrides = [given] if isinstance(given, str) else given
    if not isinstance(overrides, list) or not all(isinstance(it, str) for it in overrides):
        raise UserError(f"overrides={overrides} is not a list of overrides. Quote each override.")
    return study, overrides


def require_slurm(nodes: int | None) -> None:
    """Raise UserError if Snakemake would submit jobs to Slurm, but there is no Slurm.

    `nodes` is Snakemake's number of jobs on a cluster, or None if the jobs run on this machine.
    """
    if nodes is None:
        return
    # Snakemake tells the workflow its executor only after the workflow has been read. So the
    # command line and its profiles are read again.
    from snakemake.cli import parse_args

    with contextlib.redirect_stderr(io.StringIO()):  # the names of the profiles, printed before
        _, options = parse_args(sys.argv[1:])
    is_rehearsal = options.dryrun or options.touch
    if options.executor == "slurm" and not is_rehearsal and shutil.which("sbatch") is None:
        raise UserError(
            "the profile submits jobs to Slurm, but the command sbatch is not on the PATH.\n"
            "Start on a machine that submits to Slurm, or run here: snakemake --cores N."
        )
