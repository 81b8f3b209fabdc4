"""Names of studies and options: what a folder, a shell, a page and Snakemake take alike."""

import json
import os
import shutil
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.planning.names import LONGEST, RESERVED
from lookback.planning.study import compose_study
from lookback.storage.cell_paths import CellPaths, TaskPaths
from lookback.storage.paths import DATA, RESULTS
from lookback.storage.study_paths import StudyPaths
from tests.conftest import ROOT

REST = "tasks: [adding]\nseeds: 1\n"
BAD = (
    "wild{card}",
    "a b",
    "<b>",
    "%41",
    "ü",
    "a=b",
    "a;b",
    "x" * 250,
    ".a",
    "-a",
    "_a",
    "a\nb",
    "a'",
)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


def answer_to(conf: Path, name: str, text: str) -> str:
    (conf / "study" / f"{name}.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        compose_study(conf, name)
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_not_safe_is_refused_wherever_it_stands(conf, name):
    """As the key of a variant, as a name made by `each`, and as the name of a study's file."""
    quoted = json.dumps(name)
    said = f"the model name '{name}' cannot be used"
    assert said in answer_to(conf, "mine", f"models: {{{quoted}: {{base: gru}}}}\n{REST}")
    each = f"models: {{'{{k}}': {{base: gru, each: {{k: [{quoted}]}}}}}}\n{REST}"
    assert f"name '{name}'" in answer_to(conf, "mine", each)
    if len(name) < 250:  # no file has a longer name
        said = f"the study name '{name}' cannot be used"
        assert said in answer_to(conf, name, f"models: [gru]\n{REST}")


@pytest.mark.parametrize("group", ["task", "model", "probe", "explainer", "recipe", "trainer"])
def test_a_file_of_conf_with_a_name_that_is_not_safe_cannot_be_chosen(conf, group):
    old = {"task": "adding", "model": "gru", "probe": "lyapunov", "explainer": "occlusion"}
    shutil.copy(conf / group / f"{old.get(group, 'default')}.yaml", conf / group / "a;b.yaml")
    chosen = {"task": ["adding"], "model": ["gru"], "recipe": "default", "trainer": "default"}
    chosen[group] = "a;b" if group in ("recipe", "trainer") else ["a;b"]
    lines = [f"{key if isinstance(it, str) else key + 's'}: {it}" for key, it in chosen.items()]
    text = "\n".join([*lines, "seeds: 1", ""])
    assert f"the {group} name 'a;b' cannot be used" in answer_to(conf, "mine", text)


def test_a_name_cannot_be_that_of_a_file_or_folder_beside_it(conf):
    """The files are those that storage/ names."""
    study, task = StudyPaths(Path("s")), TaskPaths(Path("s/t"))
    in_study = {study.summary, study.receipts, study.figures.parent, task.folder.parent / "log"}
    assert {path.name for path in in_study} <= RESERVED["task"]
    assert {task.facts.name, task.log.parent.name} <= RESERVED["model"]
    assert DATA.relative_to(RESULTS).name in RESERVED["study"]
    assert CellPaths(Path("s/t/m")).wanted_note("train").name.startswith(".")
    for name in (*RESERVED["study"], "Data", "by-hand", "by-hand-2", "BY-HAND"):
        assert f"the study name '{name}' cannot" in answer_to(conf, name, f"models: [gru]\n{REST}")
    for group, other in (("model", "tasks: [adding]"), ("task", "models: [gru]")):
        base = {"model": "gru", "task": "adding"}[group]
        for name in (*RESERVED[group], "Summary"):
            text = f"{group}s: {{{name}: {{base: {base}}}}}\n{other}\nseeds: 1\n"
            assert f"the {group} name '{name}' cannot" in answer_to(conf, "mine", text)


def test_names_that_macos_takes_for_one_are_refused(conf):
    text = f"models: {{gru: , GRU: {{base: gru}}}}\n{REST}"
    assert "'gru' and 'GRU' differ only in upper and lower case" in answer_to(conf, "mine", text)


def test_the_longest_file_names_made_from_names_are_short_enough():
    """Two names beside each other, as in a figure, under the name that it is written by first."""
    name, process = "x" * LONGEST, 2**22  # Linux's largest process number
    cell = CellPaths(Path("s") / name / name)
    files = [f".{name}_{name}.{process}.svg", f".explanations_{name}_99.{process}.svg"]
    files += [
        f".{path.stem}.{process}{path.suffix}"
        for path in (cell.scores(name), cell.log(f"explain-{name}"))
    ]
    assert all(len(os.fsencode(file)) <= 255 for file in files)
