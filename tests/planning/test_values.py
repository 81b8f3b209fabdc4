"""A value that would fail in a job, or change nothing, is a mistake when the study is planned."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lookback.errors import UserError
from lookback.planning.constructor_signatures import signature_of
from lookback.planning.options import Options
from lookback.planning.overrides import Override
from lookback.planning.study import compose_by_hand
from tests.conftest import ROOT

CONF = ROOT / "conf"
GROUPS = ("task", "model", "recipe", "trainer", "probe", "explainer")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
NO_NUMBERS = ("x", True, {"x": 1}, [1], float("nan"), float("inf"), -float("inf"))
WRONG = {
    int: (*NO_NUMBERS, 16.0, -1, 10**400),
    float: (*NO_NUMBERS, 10**400),
    bool: ("x", 1, 0.0, None),
}


@pytest.fixture(scope="module")
def options() -> Options:
    """All options, composed once."""
    composed = Options(CONF)
    composed.compose(OPTIONS, "a test")
    return composed


def numbers(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number and truth value in a config, with its path; not those of mappings in a list."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from numbers(value, (*at, key))
    elif isinstance(node, list):
        for entry in (entry for entry in node if not isinstance(entry, dict)):
            yield from ((at, [value]) for _, value in numbers(entry))
    elif isinstance(node, int | float):
        yield at, node


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=str)
def test_a_wrong_value_of_a_setting_is_refused(options, group, name):
    """Every number of every option in turn, in lists too; the values beside it stay right."""
    accepted, sentences = [], []
    for keys, value in numbers(options.composed[group, name]):
        is_list = isinstance(value, list)
        wrong = WRONG[type(value[0] if is_list else value)]
        for planted in [[it] for it in wrong] + [[], 5] if is_list else wrong:
            text = f"planted {planted}"[:40]
            change = Override(text, "a test", group, keys, planted, None, False, False)
            try:
                options.with_overrides(group, name, [change])
            except UserError as mistake:
                sentences.append(str(mistake))
            else:
                accepted.append((".".join(keys), planted))
    assert not accepted
    assert all(len(sentence.splitlines()) <= 3 for sentence in sentences)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "recipe.groups=[{weights: [a], lr_factor: -1, weight_decay: 0}]",
            "'groups.0.lr_factor' cannot be -1",
        ),
        ("recipe.optimizer.lr=nan", "'optimizer.lr' cannot be nan; it should be a finite number"),
        ("recipe.optimizer.lr=1e999", "'optimizer.lr' cannot be inf"),
        (f"model.hidden_size={10**30}", "'hidden_size' cannot be an integer of 100 bits"),
        (f"task.seed={'9' * 5000}", "is not an override"),
        ("trainer.threads=1.0", "'threads' cannot be 1.0; it should be of type integer"),
        ("trainer.batch_size=16.0", "'batch_size' cannot be 16.0; it should be of type integer"),
        ("task.length=.nan", "'length' cannot be \".nan\"; it should be of type integer."),
        ("model._target_=os.system", "gru.yaml: '_target_: os.system': there is no Python file of"),
        (
            "model._target_=math.sqrt",
            "'_target_: math.sqrt': there is no Python file of",
        ),
        ("model._target_=__main__.X", "gru.yaml: '_target_: __main__.X': there is no package"),
        (
            "model._target_=lookback",
            "gru.yaml: '_target_' cannot be \"lookback\"; it should be",
        ),
        ("model._target_=lookback..models.gru.GRU", "'_target_' cannot be \"lookback..models"),
        ("++model.features=3", "'features' cannot be set, because lookback sets it"),
        ("++recipe.optimizer.params=3", "'optimizer.params' cannot be set"),
        ("++recipe.optimizer.fused=false", "'optimizer.fused' cannot be set"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(override, said):
    with pytest.raises(UserError) as caught:
        compose_by_hand(CONF, "adding", "gru", 0, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize("before", ["model.hidden_size=", "model.nokey=", "recipe=", "foo=", ""])
def test_a_long_override_is_cut_in_the_message(before):
    with pytest.raises(UserError) as caught:
        compose_by_hand(CONF, "adding", "gru", 0, [before + "x" * 5000])
    assert "x…" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("target", ["5", "[a]"])
def test_a_class_that_is_no_text_is_named_if_a_key_beside_it_is_unknown(target):
    with pytest.raises(UserError, match=r"'model\.key=3' changes 'key', which model does not have"):
        compose_by_hand(CONF, "adding", "gru", 0, [f"model._target_={target}", "model.key=3"])


def test_a_setting_that_a_model_gives_its_encoder_is_not_set_beside_it():
    with pytest.raises(UserError, match=r"'encoder\.hidden_size' cannot be set"):
        compose_by_hand(CONF, "adding", "attention", 0, ["++model.encoder.hidden_size=3"])


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, float("nan"), True])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(UserError, match=r"seeds\.0"):
        compose_by_hand(CONF, "adding", "gru", seed, [])


def test_a_module_whose_name_no_module_can_import_is_named(tmp_path, monkeypatch):
    """A hyphen, and a word of Python."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("my-model", "class"):
        (package / f"{name}.py").write_text("class Model: ...\n")
        with pytest.raises(UserError, match=f"package_of_a_test/{name}.py: no module can import"):
            signature_of(f"package_of_a_test.{name}.Model")


FIELDS = """
from dataclasses import dataclass, field
from typing import ClassVar
class Plain:
    '''No fields.'''
@dataclass
class First(Plain):
    kind: ClassVar[str] = "class"
    size: int
    made: list[int] = field(init=False)
@dataclass
class Second(First):
    share: float = field(default=0.5)
    names: tuple[str, ...] = ()
"""


def test_the_fields_that_a_dataclass_inherits_are_its_parameters(tmp_path: Path, monkeypatch):
    (tmp_path / "fields_of_a_test.py").write_text(FIELDS)
    monkeypatch.syspath_prepend(tmp_path)
    parameters = signature_of("fields_of_a_test.Second")
    assert {name: it.required for name, it in parameters.items()} == {
        "size": True,
        "share": False,
        "names": False,
    }
    assert parameters["names"].entries == {"str"}
