"""`lookback models`: one line a model, with what can be counted by hand."""

import re

import pytest

from lookback.cli import main
from lookback.commands.list_models import list_models, source_of
from tests.conftest import ROOT


def rows(text: str) -> dict[str, list[str]]:
    lines = [re.split(r"  +", line) for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 5 and line[0] != "model"}


def test_each_model_stands_there_with_size_cost_step_and_source(in_tmp, capsys):
    """Counts by hand, at H = 64, F = 2, one value asked at the end of 50 steps."""
    list_models("adding")
    found = rows(capsys.readouterr().out)
    assert set(found) == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    size = 4 * (64 * 2 + 64 * 64 + 2 * 64) + 64 + 1
    flops = 2 * 4 * 64 * (2 + 64) + 2 * 64 / 50
    paper = 'Hochreiter and Schmidhuber 1997, "Long short-term memory"'
    assert found["lstm"] == [f"{size:,}", f"{flops:,.0f}", "yes", paper]
    assert found["minlstm"][3] == 'Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201'
    stepping = {name for name, row in found.items() if row[2] == "yes"}
    assert stepping == {"rnn", "lstm", "gru", "mingru", "minlstm", "lru"}
    assert all(row[3] for row in found.values())


def test_a_module_that_cites_nothing_has_no_source():
    assert source_of("lookback.errors.UserError") == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("task=addin", "Did you mean 'adding'?"),
        ("tsk=adding", "Did you mean 'task'?"),
        ("adding", "takes key=value, not 'adding'"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_right_word(in_tmp, capsys, word, said):
    assert main(["models", word]) == 2
    assert said in capsys.readouterr().err
