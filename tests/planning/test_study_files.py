"""What a study's YAML can say once: files of its defaults list, and variants by `each`."""

import shutil
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.planning.study import compose_study
from tests.conftest import ROOT

REST = "tasks: [adding]\nseeds: 1\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ by links, in which a test may write studies."""
    for group in (ROOT / "conf").iterdir():
        if group.name != "study":
            (tmp_path / group.name).symlink_to(group)
    (tmp_path / "study").mkdir()
    return tmp_path


def study(conf: Path, text: str):
    (conf / "study/mine.yaml").write_text(text)
    return compose_study(conf, "mine")


def test_a_set_of_probes_is_named_in_the_defaults_list(conf):
    text = f"defaults:\n  - /probes@_here_: memory\n  - _self_\nmodels: [gru]\n{REST}"
    assert list(study(conf, text).probes) == list(compose_study(ROOT / "conf", "memory").probes)
    assert list(study(conf, f"{text}probes: [lyapunov]\n").probes) == ["lyapunov"]


def test_each_stands_for_one_variant_for_every_combination_in_order(conf):
    model = """models:
  gru_{width}x{layers}:
    base: gru
    each: {width: [8, 16], layers: [1, 2]}
    overrides: ["model.hidden_size={width}", "model.layers={layers}"]
"""
    cells = study(conf, model + REST).cells
    found = {
        name: (cell.model["hidden_size"], cell.model["layers"]) for (_, name), cell in cells.items()
    }
    assert list(found) == ["gru_8x1", "gru_8x2", "gru_16x1", "gru_16x2"]
    assert list(found.values()) == [(8, 1), (8, 2), (16, 1), (16, 2)]


def test_a_value_of_each_is_written_as_in_an_override_and_filled_in_once(conf):
    model = """models:
  "gru_{name}":
    base: gru
    each: {name: [free, tight], clip: [null]}
    overrides: ["recipe.clip={clip}"]
"""
    cells = study(conf, model + REST).cells
    assert [cell.recipe["clip"] for cell in cells.values()] == [None, None]
    nested = "models:\n  'gru_{a}{b}': {base: gru, each: {a: ['x{b}'], b: [1]}}\n"
    with pytest.raises(UserError, match=r"the name 'gru_x\{b\}1'"):
        study(conf, nested + REST)


@pytest.mark.parametrize("name", ["2024_01", "1e3", "true", "null", "0x10", "v1.2", "a" * 100])
def test_a_study_is_found_by_its_name_whatever_yaml_or_hydra_would_make_of_it(conf, name):
    (conf / f"study/{name}.yaml").write_text(f"models: [gru]\n{REST}")
    assert compose_study(conf, name).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- tasks\n", "is empty; a study needs the keys"),
        ("# nothing\n", "is empty; a study needs the keys"),
        ("defaults: [mine, _self_]\n", "includes its own file"),
        ("defaults:\n", "Invalid defaults list"),
        ("defaults:\n  - /probes@_global_: memory\n  - _self_\n" + REST, "which no option reads"),
        ("models: [gru]\noverrides: ['model.hidden_size=${']\n" + REST, "study/mine.yaml): "),
    ],
)
def test_a_file_that_hydra_cannot_compose_is_a_sentence(conf, text, message):
    with pytest.raises(UserError) as caught:
        study(conf, text)
    assert message in str(caught.value)
    assert not str(caught.value).endswith(": ")


def test_a_key_of_each_may_be_a_number(conf):
    model = (
        'models:\n  "gru_{1}": {base: gru, each: {1: [8]}, overrides: ["model.hidden_size={1}"]}\n'
    )
    ((key, cell),) = study(conf, model + REST).cells.items()
    assert (key, cell.model["hidden_size"]) == (("adding", "gru_8"), 8)


def test_mqar_has_the_models_that_it_wrote_out_before():
    cells = compose_study(ROOT / "conf", "mqar").cells
    models = {
        name: (it.model["hidden_size"], it.model["embedding_size"])
        for (_, name), it in cells.items()
    }
    widths = (64, 128, 256, 512)
    names = ("rnn", "lstm", "gru", "transformer")
    assert models == {f"{name}_{width}": (width, width) for name in names for width in widths}
    assert all(cells["mqar_64", f"transformer_{width}"].model["causal"] for width in widths)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:\n  gru: {each: {width: [8, 16]}}\n", "gives the name 'gru', twice"),
        ("models:\n  'gru_{size}': {base: gru, each: {width: [8]}}\n", "the name 'gru_{size}'"),
        ("models:\n  'gru_{width}': {base: gru, each: {width: []}}\n", "at least 1"),
        (
            "models:\n  'gru_{width}': {base: gru, each: {width: ['a b']}}\n",
            "name 'gru_a b' cannot",
        ),
        ("models:\n  'gru_{w}': {base: gru, each: {w: ['a\"b']}}\n", "name 'gru_a\"b' cannot"),
        ("models:\n  007: {base: gru}\n", "reads the name 7 as a int. Write the name in quotes"),
        ("models:\n  no: {base: gru}\n", "reads the name false as a bool"),
    ],
)
def test_each_that_gives_no_names_is_a_mistake(conf, text, message):
    with pytest.raises(UserError) as caught:
        study(conf, text + REST)
    assert message in str(caught.value)


TWICE = r"the key '{}' stands twice, in line {} and in line {}\."


def test_a_key_that_stands_twice_is_a_mistake_and_both_lines_are_named(conf):
    """YAML takes the second in silence: another experiment would run."""
    with pytest.raises(UserError, match="conf/study/mine.yaml: " + TWICE.format("seeds", 3, 4)):
        study(conf, f"models: [gru]\n{REST}seeds: 3\n")
    with pytest.raises(UserError, match=TWICE.format("base", 2, 3)):
        study(conf, f"models: {{a: {{\n base: gru,\n base: rnn}}}}\n{REST}")


@pytest.mark.parametrize(
    "group", ["task", "model", "recipe", "trainer", "probe", "explainer", "tracking", "published"]
)
def test_a_key_that_stands_twice_is_named_in_every_group(conf, group):
    """In an option as in a study; conf/published/ is read without Hydra."""
    (conf / group).unlink()
    shutil.copytree(ROOT / "conf" / group, conf / group)
    names = {"task": "adding", "model": "gru", "probe": "lyapunov", "explainer": "occlusion"}
    names |= {"tracking": "local", "published": "bai2018"}
    file = conf / group / f"{names.get(group, 'default')}.yaml"
    lines = file.read_text().rstrip().splitlines()
    key = next(line.partition(":")[0] for line in lines if line[0] not in "# -")
    first = 1 + next(number for number, line in enumerate(lines) if line.startswith(f"{key}:"))
    file.write_text("\n".join([*lines, f"{key}: 1", ""]))
    text = "models: [gru]\nprobes: [lyapunov]\nexplainers: [occlusion]\npublished: [bai2018]\n"
    said = f"conf/{group}/{file.name}: " + TWICE.format(key, first, len(lines) + 1)
    with pytest.raises(UserError, match=said):
        study(conf, text + REST)


def test_a_set_that_does_not_exist_is_a_mistake(conf):
    with pytest.raises(UserError, match="memry"):
        study(conf, f"defaults:\n  - /probes@_here_: memry\n  - _self_\nmodels: [gru]\n{REST}")
