"""Explainers against the exact Shapley values of networks whose weights were set by hand."""

import re
from functools import cache
from itertools import permutations

import pytest
import torch
from bench.wired_networks import (
    NETWORKS,
    SEQUENCES,
    T,
    Wired,
    agreement,
    asked,
    attributed,
    exact_shapley,
)
from torch.testing import assert_close

from lookback.explain.attention import Attention
from lookback.explain.base import explained_answer
from lookback.explain.contextual_decomposition import ContextualDecomposition
from lookback.explain.input_times_gradient import InputTimesGradient
from lookback.explain.integrated_gradients import IntegratedGradients
from lookback.explain.lrp import LRP
from lookback.explain.occlusion import Occlusion
from lookback.explain.saliency import Saliency
from lookback.explain.shapley import Shapley
from tests.conftest import ROOT

INTEGRATED = IntegratedGradients(SEQUENCES, 32, "zero")
OCCLUSION = Occlusion(SEQUENCES, 64, each_feature=False, baseline="zero", draws=1)
RELEVANCE = LRP(SEQUENCES, epsilon=1e-9)
SHAPLEY = Shapley(SEQUENCES, 64, pairs=8, baseline="zero")


@cache
def wired(name: str) -> tuple[Wired, torch.Tensor]:
    network = NETWORKS[name]()
    return network, exact_shapley(network)


def compared(name: str, explainer) -> tuple[float, float]:
    network, exact = wired(name)
    return agreement(attributed(network, explainer), exact)


@torch.no_grad()
def answers(network: Wired, inputs: torch.Tensor) -> torch.Tensor:
    output = torch.zeros(SEQUENCES, dtype=torch.int64)
    return explained_answer(network.network, asked(network), output, inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_its_name_says(name):
    network, exact = wired(name)
    assert_close(answers(network, network.inputs), network.answers, atol=1e-5, rtol=0)
    change = network.answers - answers(network, 0 * network.inputs)
    assert_close(exact.sum(1), change, atol=1e-5, rtol=0)


def test_exact_values_are_the_mean_over_all_orders_of_the_steps_that_matter():
    """In `exclusive_or` only two steps matter, so both orders of them are all orders."""
    network, exact = wired("exclusive_or")
    pair, expected = (T - 4, T - 1), torch.zeros(SEQUENCES, T, dtype=torch.float64)
    for order in permutations(pair):
        inputs = 0 * network.inputs
        for step in order:
            before = answers(network, inputs)
            inputs[:, step] = network.inputs[:, step]
            expected[:, step] += (answers(network, inputs) - before) / 2
    assert_close(exact, expected)


@pytest.mark.parametrize("name", ["delay_line", "adder", "diagonal_filter"])
@pytest.mark.parametrize("explainer", [INTEGRATED, RELEVANCE, SHAPLEY, OCCLUSION])
def test_on_a_linear_network_they_are_exact(name, explainer):
    correlation, error = compared(name, explainer)
    assert correlation > 0.999
    assert error < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_sampled_shapley_values_are_near_the_exact_ones_on_every_network(name):
    assert compared(name, SHAPLEY)[1] < 0.2


def test_contextual_decomposition_solves_the_gated_networks():
    for name in ("gated_copy", "lstm_adding"):
        assert compared(name, ContextualDecomposition(SEQUENCES))[1] < 1e-3


def test_each_other_family_fails_on_a_network_made_against_it():
    """Gradients of saturated units are zero; one of two sufficient inputs is never missed."""
    for name in ("counter", "latch"):
        for explainer in (Saliency(SEQUENCES), InputTimesGradient(SEQUENCES, "zero")):
            assert abs(compared(name, explainer)[0]) < 0.1
    assert compared("latch", INTEGRATED)[1] > 0.5
    assert compared("latch", OCCLUSION)[1] < 1e-6
    assert compared("redundant_latch", OCCLUSION)[1] > 0.9
    # Relevance is divided by z + ε, which is nearly ε if the parts of z cancel.
    assert compared("cancelling_pair", LRP(SEQUENCES, epsilon=0.001))[1] > 0.5
    # Attention sees the marked step, but not that the others count if it is gone.
    assert compared("look_up", Attention(SEQUENCES))[0] < 0.5


def test_the_document_has_a_row_for_each_network_and_a_column_for_each_explainer():
    text = (ROOT / "docs/explainers.md").read_text(encoding="utf-8")
    names = sorted(path.stem for path in (ROOT / "conf/explainer").glob("*.yaml"))
    for head in ("rank correlation", "relative error"):
        table = text.split(f"<!-- {head} -->")[1].split("<!-- end")[0].strip().splitlines()
        columns = [cell.strip().replace(" ", "_") for cell in table[0].split("|")[2:-1]]
        rows = [re.match(r"\| ([a-z ]+) \|", row)[1].replace(" ", "_") for row in table[2:]]
        assert columns == names
        assert rows == list(NETWORKS)
    for name in names:
        assert f"| `{name}` |" in text
