"""What a user types to start a study, and what the rules give to a shell."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflow.projects import SMALL, Project

RULES = {path.name: path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk"))}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that nothing was run in."""
    return Project.at(tmp_path / "project")


def snakemake(project: Project, *arguments: str, status: int) -> str:
    return project.call([*project.command()[:3], *arguments], status=status)


@pytest.mark.parametrize("name", ["2024_01", "1e3", "true"])
def test_a_study_that_yaml_takes_for_a_number_runs_by_its_name(project, name):
    (project.root / f"conf/study/{name}.yaml").write_text(SMALL)
    printed = snakemake(project, "-n", "--cores", "1", "--config", f"study={name}", status=0)
    assert "train adding/gru" in printed


def test_a_list_of_overrides_may_hold_brackets(project):
    overrides = "overrides=[trainer.budget={steps: 30}, 'model.hidden_size=5']"
    printed = snakemake(
        project, "-n", "--cores", "1", "--config", "study=small", overrides, status=0
    )
    assert "overrides of study 'small': trainer.budget={steps: 30} model.hidden_size=5" in printed


@pytest.mark.parametrize(
    ("word", "cells"),
    [
        ("overrides=[study.models=[rnn,lstm]]", ["rnn", "lstm"]),
        (
            "overrides=[study.models={r2: {base: rnn, overrides: [model.layers=2]}, gru: {}}]",
            ["r2"],
        ),
    ],
)
def test_models_of_a_study_may_be_given_as_a_user_types_them(project, word, cells):
    config = ("--config", "study=small", word)
    printed = snakemake(project, "-n", "--cores", "1", *config, status=0)
    for model in cells:
        assert f"train adding/{model}" in printed


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("overrides=[study.models=[rnn,grru]]", "Did you mean 'gru'"),
        ("overrides=5", "'5' is not an override"),
        ("overrides=[trainer.budget={steps:", "Put the whole list in quotes"),
        ("seeds=3", "--config does not know 'seeds'"),
    ],
)
def test_a_config_that_cannot_be_used_is_a_sentence(project, word, said):
    printed = snakemake(project, "-n", "--cores", "1", "--config", word, status=2)
    assert said in printed
    assert "Error" not in printed


def test_without_slurm_its_profile_is_refused_before_anything_is_planned(project, tmp_path):
    """A dry run needs no Slurm. The folder of sbatch may hold bash, too."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    others = tmp_path / "without-sbatch"
    others.mkdir()
    for folder in folders:
        for program in folder.glob("*") if (folder / "sbatch").exists() else ():
            if program.name != "sbatch" and not (others / program.name).exists():
                (others / program.name).symlink_to(program)
    kept = [folder for folder in folders if not (folder / "sbatch").exists()]
    project.environment["PATH"] = os.pathsep.join(map(str, [*kept, others]))
    assert shutil.which("sbatch", path=project.environment["PATH"]) is None
    slurm = ("--profile", "profiles/slurm", "--config", "study=small")
    printed = snakemake(project, *slurm, status=2)
    assert "the command sbatch is not on the PATH" in printed
    assert not project.made("results/.plan", "results/.code")
    assert "train adding/gru" in snakemake(project, *slurm, "-n", status=0)


def shell_lines() -> list[tuple[str, str]]:
    """The shell command of each rule, by the rule's name."""
    rule = re.compile(
        r"^rule (\w+):\n((?:(?!rule ).*\n)*?)    shell:\n((?: {8}.*\n)+)", re.MULTILINE
    )
    return [
        (name, "".join(re.findall(r'"(.*)"', lines)))
        for text in RULES.values()
        for name, _, lines in rule.findall(text)
    ]


def test_every_word_that_a_rule_gives_to_a_shell_is_quoted():
    """`{LOOKBACK}` is several words, of which the first is quoted where it is made."""
    commands = dict(shell_lines())
    assert len(commands) == sum(text.count("\n    shell:") for text in RULES.values()) == 10
    for name, command in commands.items():
        fields = re.findall(r"\{([^}]*)\}", command)
        assert fields[0] == "LOOKBACK"
        assert [field for field in fields[1:] if not field.endswith(":q")] == [], name


NASTY = "a b;touch PWNED;$(touch PWNED)'"


def test_what_runs_after_a_failed_job_gives_one_word_for_each_path(tmp_path, monkeypatch):
    """The function of the rules itself, with names that planning would refuse."""
    text = RULES["common.smk"]
    start = text.index("def write_what_there_is")
    function = text[start : text.index("\ndef ", start + 1)]
    plans = {stage: {"plan": f"{NASTY}/{stage}.yaml"} for stage in ("summarise", "report", "track")}
    ran: list[str] = []
    names = {"INDEX": plans, "STUDY": f"results/{NASTY}", "URI": NASTY, "LOOKBACK": "lookback"}
    names |= {"DRAFT": f"{NASTY}/d", "REPORT": f"{NASTY}/r", "RECEIPT": f"{NASTY}/t"}
    names |= {"STAGES_OF_STUDY": tuple(plans), "quote": shlex.quote, "shell": ran.append}
    exec(function + "\nwrite_what_there_is()", names)
    assert len(ran) == 4
    for command in ran:
        words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
        assert words[:2] == ["mkdir", "-p"]
        assert [word for word in words if "PWNED" in word and NASTY not in word] == []
        assert ";" not in words
