"""Back recall and back value: no step tells its question early, and a delay line answers all."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2_contingency

from lookback.data.back_recall import BackRecall
from lookback.data.back_value import BackValue
from lookback.data.check import check_data, check_facts
from lookback.data.task import SPLITS
from lookback.models.network import Network
from lookback.models.rnn import RNN
from lookback.training.evaluate import evaluate
from lookback.training.skill import skill_of
from tests.shipped import make_layer

SIZES = {"train": 40, "validation": 10, "test": 200, "seed": 0, "fresh": False}
LAGS = [1, 2, 4, 6]
TASKS = {
    "symbols": BackRecall(length=20, symbols=3, lags=LAGS, **SIZES),
    "values": BackValue(length=20, lags=LAGS, **SIZES),
}


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


def delay_line(task, held):
    """An Elman network of two layers, with ReLU, that shifts the last `held` inputs along.

    Layer 0 holds x_{t-j} + 1 in block j, and copies the question. Layer 1 has a unit for each lag
    and each feature of x: relu(x + 1 − 2 (1 − q_k)) is x + 1 if lag k is asked, and 0 if not,
    because x is at most 1. So the sum over lags is x_{t-k} + 1.
    """
    width, count = task.features - len(LAGS), len(LAGS)
    line = (held + 1) * width
    encoder = make_layer(RNN, task.features, line + count, layers=2, nonlinearity="relu").eval()
    network = Network(encoder, task.outputs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        kernel, shifted = encoder.kernel, line - width
        kernel.weight_ih_l0[:width, :width] = torch.eye(width)
        kernel.bias_ih_l0[:width] = 1
        kernel.weight_hh_l0[width:line, :shifted] = torch.eye(shifted)
        kernel.weight_ih_l0[line:, width:] = torch.eye(count)
        for number, lag in enumerate(task.lags):
            unit = slice(number * width, (number + 1) * width)
            if lag <= held:
                block = slice(lag * width, (lag + 1) * width)
                kernel.weight_ih_l1[unit, block] = torch.eye(width)
                kernel.weight_ih_l1[unit, line + number] = 2
                kernel.bias_ih_l1[unit] = -2
            network.head.weight[:, unit] = torch.eye(width)
        network.head.bias.fill_(-1)
    return network


def test_the_checks_of_prepare_accept_the_task(task):
    datasets = {split: task.dataset(split) for split in SPLITS}
    check_data(datasets)
    check_facts(task.facts(), datasets)


def test_a_delay_line_as_long_as_the_longest_lag_answers_every_question(task):
    data, facts = task.dataset("test"), task.facts()
    assert evaluate(delay_line(task, held=6), data, facts).metric == pytest.approx(
        facts.optimum, abs=1e-10
    )


def test_a_shorter_delay_line_answers_the_lags_that_it_holds_and_no_other(task):
    data, facts = task.dataset("test").batch(slice(None)), task.facts()
    network = delay_line(task, held=3)
    with torch.no_grad():
        skill = skill_of(network(data.inputs, data.lengths, data.query), data, facts)
    # A lag that is not held gets equal logits (accuracy 1/3), or the answer −1 (error 1/3 + 1).
    missed = (1 / 3 - facts.baseline) / (1 - facts.baseline) if task.kind == "class" else -3
    for lag in LAGS:
        expected = pytest.approx(1 if lag <= 3 else missed, abs=0.3)
        assert skill[data.lag == lag].mean().item() == expected


def test_lags_and_steps_of_the_queries(task):
    data = task.dataset("test")
    assert data.query[0].tolist() == list(range(6, 20))
    shares = np.array([(data.lag == lag).double().mean().item() for lag in LAGS])
    assert shares.sum() == 1
    assert np.abs(shares - 1 / 4).max() < 0.03  # four standard errors of 2,800 draws


def test_the_question_is_independent_of_every_input_and_of_every_other_question():
    """Chi-squared tests of all pairs of what two steps show: the p-values look uniform."""
    task = BackRecall(length=12, symbols=3, lags=LAGS, **SIZES | {"test": 4000})
    inputs = task.dataset("test").batch(slice(None)).inputs
    symbols, asked = inputs[..., :3].argmax(dim=2).numpy(), inputs[:, 6:, 3:].argmax(dim=2).numpy()
    pairs = [(asked[:, q], symbols[:, t]) for q in range(6) for t in range(12)]
    pairs += [(asked[:, q], asked[:, p]) for q in range(6) for p in range(q)]
    pairs += [(symbols[:, t], symbols[:, s]) for t in range(12) for s in range(t)]
    tables = (pd.crosstab(one, other) for one, other in pairs)
    p_values = np.array([chi2_contingency(table).pvalue for table in tables])
    assert np.quantile(p_values, 0.5) == pytest.approx(0.5, abs=0.12)
    assert (p_values < 0.001).sum() <= 2


def test_the_baseline_answers_every_lag_alike():
    """The constant has the accuracy 1/S and the error Var(x) = 1/3 within the sampling error."""
    values = BackValue(length=20, lags=LAGS, **SIZES | {"train": 1000, "test": 1000})
    assert values.facts().baseline == pytest.approx(1 / 3, abs=0.01)
    symbols = BackRecall(length=20, symbols=3, lags=LAGS, **SIZES | {"train": 1000, "test": 1000})
    constant = symbols.facts().baselines["most frequent class"]
    assert constant == pytest.approx(1 / 3, abs=0.02)
