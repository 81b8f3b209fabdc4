"""Overrides as a person types them, from the text after `overrides=` to the composed study."""

import pytest

from lookback.commands.snakemake_options import study_and_overrides
from lookback.errors import UserError
from lookback.planning.study import compose_study
from tests.conftest import ROOT


def composed(text):
    """Study `adding-200` with the overrides of `--config overrides=TEXT`."""
    words = ["study=adding-200", f"overrides={text}"]
    study, overrides = study_and_overrides({"study": "", "overrides": ""}, words)
    return compose_study(ROOT / "conf", study, overrides)


def models(study):
    return list(dict.fromkeys(model for _, model in study.cells))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("study.models=[rnn,gru]", ["rnn", "gru"]),
        ("[study.models=[rnn,gru]]", ["rnn", "gru"]),
        ("[ study.models = [rnn, gru] , trainer.threads=2 ]", ["rnn", "gru"]),
        ("[study.models=['rnn', \"gru\"], trainer.threads=2]", ["rnn", "gru"]),
        ("['study.models=[rnn,gru]', \"trainer.threads=2\"]", ["rnn", "gru"]),
        ("[study.models=[rnn,gru,],trainer.threads=2]", ["rnn", "gru"]),
        ("[study.models={rnn: {}, gru: null}]", ["rnn", "gru"]),
        ("[study.models={a: {base: rnn, overrides: [model.layers=2]}}]", ["a"]),
        ("[study.models={a: {base: rnn, overrides: ['model.layers=2', recipe=chrono]}}]", ["a"]),
        (
            "[study.models={'g_{n}': {base: gru, each: {n: [8, 9]}, "
            "overrides: ['model.hidden_size={n}']}}]",
            ["g_8", "g_9"],
        ),
    ],
)
def test_models_may_be_listed_with_quotes_spaces_and_nested_brackets(text, names):
    assert models(composed(text)) == names


def test_what_stands_inside_nested_brackets_is_applied():
    study = composed("[study.models={a: {base: rnn, overrides: [model.layers=2]}, b: {base: rnn}}]")
    layers = {model: cell.model["layers"] for (_, model), cell in study.cells.items()}
    assert layers == {"a": 2, "b": 1}
    study = composed("[study.overrides=[recipe.clip=0.5, 'trainer.threads=2']]")
    cell = next(iter(study.cells.values()))
    assert (cell.recipe["clip"], cell.trainer["threads"]) == (0.5, 2)


def test_numbers_in_nested_brackets_are_numbers():
    study = composed(
        "[+study.tune={lr: [1e-3, 3e-3], recipe.clip: {low: 5e-1, high: 1}, trials: 2}]"
    )
    assert study.tune["values"]["recipe.optimizer.lr"] == [0.001, 0.003]
    assert study.tune["values"]["recipe.clip"]["low"] == 0.5


def test_a_quote_inside_a_quote_may_be_escaped():
    with pytest.raises(UserError, match="study 'adding-200'"):  # parsed, and refused as a name
        composed(r"[study.models=['it\'s, gru']]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[study.modles=[rnn,gru]]", "Did you mean 'models'?"),
        ("[study.models=[rnn,grru]]", "Did you mean 'gru'?"),
        ("[studdy.models=[rnn,gru]]", "Did you mean 'study'?"),
        ("[models=[rnn,gru]]", "Did you mean 'study.models'?"),
        ("[modles=[rnn,gru]]", "Did you mean 'study.models'?"),
        ("[seeds=3]", "Did you mean 'study.seeds'?"),
        ("[recipee=chrono]", "Did you mean 'recipe'?"),
        ("[study.models={rnn: {overides: [model.layers=2]}}]", "Did you mean 'overrides'?"),
        ("[study.models={rnn: {overrides: [model.layes=2]}}]", "Did you mean 'model.layers'?"),
        ("[study.models=[rnn,gru]", "opens a bracket that is not closed"),
        ("study.models=[rnn,gru]]", "has ']', which closes no bracket"),
        ("[study.models=[rnn,gru)]", "has ')' where ']' is needed"),
        ("[study.models=[rnn,gru]],", "goes on after its closing ']'"),
        ("[study.models=['rnn,gru]]", "opens a quote that is not closed"),
        ("[study.models=rnn,gru]", "A list of values needs brackets: 'study.models=[rnn, gru]'"),
        ("[study.models:[rnn,gru]]", "'study.models:[rnn,gru]' is not an override: it has no '='"),
        ("[study.models=(rnn,gru)]", "Write a list as 'study.models=[a, b]'"),
        ("[[study.models=[rnn,gru]]]", "remove its outer brackets"),
        ("[trainer.threads=2 study.seeds=2]", "Separate two overrides with a comma"),
        ("[trainer.threads=2; recipe=chrono]", "Separate two overrides with a comma"),
    ],
)
def test_a_typing_mistake_is_answered_with_what_to_write(text, said):
    with pytest.raises(UserError) as error:
        composed(text)
    assert said in str(error.value)
    assert "token recognition" not in str(error.value)
