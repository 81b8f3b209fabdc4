"""Scores and predictions against scikit-learn and scipy, with queries that ask nothing."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    recall_score,
)

from lookback.data.batch import SequenceDataset
from lookback.data.task import Facts
from lookback.models.base import SequenceModel
from lookback.models.network import Network
from lookback.training import evaluate as evaluation
from lookback.training.evaluate import (
    answered,
    evaluate,
    evaluate_with_predictions,
    predictions_of,
    scores_of,
    sequences_at_once,
)
from lookback.training.metrics import OtherMetrics
from tests.conftest import ROOT
from tests.training.small import adding, network_of

FACTS = Facts("class", False, 2, 6, 5, "accuracy", 0.2, "most frequent class", {"test": 40})


@pytest.fixture
def split() -> SequenceDataset:
    """40 sequences of up to three queries; -1 asks nothing, and then no class is right."""
    generator = torch.Generator().manual_seed(0)
    query = torch.tensor([1, 3, 5]).repeat(40, 1)
    query[::3, 2] = -1
    target = torch.randint(5, (40, 3), generator=generator).masked_fill(query < 0, -1)
    inputs = torch.randn(40, 6, 2, generator=generator)
    return SequenceDataset(inputs, torch.full((40,), 6), query, target)


@pytest.fixture
def answers() -> torch.Tensor:
    return 3 * torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(1))


def test_loss_and_accuracy_are_scikit_learn_s(split, answers):
    asked = split.query >= 0
    wanted, given = split.target[asked].numpy(), answers[asked].double().numpy()
    scores = scores_of(answers, split, FACTS)
    shares = softmax(given, axis=1)
    assert scores.loss == pytest.approx(log_loss(wanted, shares, labels=range(5)), rel=1e-6)
    assert scores.metric == pytest.approx(accuracy_score(wanted, given.argmax(axis=1)))


def others(split, answers, facts, batch):
    """The other scores of a split whose answers come in batches of `batch` sequences."""
    metrics = OtherMetrics(facts)
    for start in range(0, len(split), batch):
        part = slice(start, start + batch)
        metrics.update(answers[part], split.batch(part))
    return metrics.compute()


@pytest.mark.parametrize("batch", [7, 40])
def test_other_scores_of_classes_are_those_of_scikit_learn_and_of_a_count(split, answers, batch):
    """Class 4 is never asked for, and class 3 is never given."""
    split.target[split.target == 4] = 0
    answers[..., 3] = -100
    asked = split.query >= 0
    answers[:9].scatter_(-1, split.target[:9].clamp(min=0)[..., None], 100)  # whole sequences
    wanted, given = split.target[asked].numpy(), answers.argmax(-1)[asked].numpy()
    found = others(split, answers, FACTS, batch)
    assert found.pop("macro_f1") == pytest.approx(f1_score(wanted, given, average="macro"))
    recalls = recall_score(wanted, given, labels=range(4), average=None)
    assert [found.pop(f"class_{k}/accuracy") for k in range(4)] == pytest.approx(list(recalls))
    rows = zip(split.target.tolist(), answers.argmax(-1).tolist(), asked.tolist(), strict=True)
    whole = [all(a == b for a, b, is_asked in zip(*row, strict=True) if is_asked) for row in rows]
    assert 9 <= sum(whole) < 40
    assert found == {"sequence_accuracy": pytest.approx(sum(whole) / 40)}


def test_a_sequence_without_a_query_is_neither_right_nor_wrong(split, answers):
    split.query[5:] = -1
    split.target[5:] = -1
    answers[:3].scatter_(-1, split.target[:3].clamp(min=0)[..., None], 100)
    wrong = (split.target[3:5].clamp(min=0) + 1) % 5
    answers[3:5].scatter_(-1, wrong[..., None], 100)
    found = others(split, answers, FACTS, 8)
    assert found["sequence_accuracy"] == pytest.approx(3 / 5)


def test_one_query_a_sequence_has_no_score_of_whole_sequences(split, answers):
    single = SequenceDataset(split.inputs, split.lengths, split.query[:, :1], split.target[:, :1])
    assert "sequence_accuracy" not in others(single, answers[:, :1], FACTS, 7)


def test_many_classes_have_no_score_of_each(split, answers):
    facts = replace(FACTS, outputs=51)
    wide = torch.cat([answers, torch.full((40, 3, 46), -100.0)], dim=-1)
    assert set(others(split, wide, facts, 40)) == {"macro_f1", "sequence_accuracy"}


@pytest.mark.parametrize("batch", [7, 40])
@pytest.mark.parametrize("values", [1, 3])
def test_other_scores_of_values_are_those_of_scikit_learn(split, answers, values, batch):
    """An offset of 1,000 would cost a sum of squares in float32 all of its digits."""
    facts = replace(FACTS, kind="value", outputs=values, metric="mse")
    target = 1000 + torch.randn(40, 3, values, generator=torch.Generator().manual_seed(2))
    given = target + 0.1 * answers[..., :values]
    split = SequenceDataset(split.inputs, split.lengths, split.query, target)
    asked = split.query >= 0
    wanted, given_values = target[asked].double().numpy(), given[asked].double().numpy()
    assert others(split, given, facts, batch) == {
        "mae": pytest.approx(mean_absolute_error(wanted, given_values), rel=1e-9),
        "r2": pytest.approx(r2_score(wanted, given_values), rel=1e-6),
    }


def test_a_single_answer_has_no_r2(split, answers):
    facts = replace(FACTS, kind="value", outputs=1, metric="mse")
    target = torch.zeros(1, 1, 1)
    one = SequenceDataset(split.inputs[:1], split.lengths[:1], split.query[:1, :1], target)
    assert others(one, answers[:1, :1, :1], facts, 1) == {
        "mae": pytest.approx(abs(answers[0, 0, 0].item()))
    }


def test_a_prediction_has_the_probability_of_its_class(split, answers):
    frame = predictions_of(7, answers, split, FACTS)
    asked = split.query >= 0
    shares = softmax(answers[asked].double().numpy(), axis=1)
    assert set(frame["seed"]) == {7}
    np.testing.assert_array_equal(frame["prediction"], shares.argmax(axis=1))
    np.testing.assert_allclose(frame["probability"], shares.max(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(frame["target"], split.target[asked])


@pytest.mark.parametrize("most", [7, 40, 512])
def test_a_split_in_batches_has_the_scores_and_the_table_of_one_pass(split, monkeypatch, most):
    torch.manual_seed(0)
    network = network_of("gru", FACTS, seed=0)
    whole = network(split.inputs, split.lengths, split.query).detach()
    monkeypatch.setattr(evaluation, "MOST", most)
    scores, table = evaluate_with_predictions(3, network, split, FACTS)
    wanted = scores_of(whole, split, FACTS)
    assert scores.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert scores.metric == pytest.approx(wanted.metric)
    assert evaluate(network, split, FACTS) == replace(scores, others={})
    assert scores.others == pytest.approx(others(split, whole, FACTS, 40))
    pd.testing.assert_frame_equal(table, predictions_of(3, whole, split, FACTS), rtol=1e-5)
    assert network.training


def test_the_squared_error_of_a_split_in_batches_is_its_mean():
    task = adding(test=1100)
    data, facts = task.dataset("test"), task.facts()
    network = network_of("gru", facts, seed=0)
    assert sequences_at_once(network, data) < len(data)
    shown = data.batch(slice(None))
    whole = network(shown.inputs, shown.lengths, shown.query)
    wanted = ((whole - data.target) ** 2).mean().item()
    assert evaluate(network, data, facts).metric == pytest.approx(wanted, rel=1e-5)


class Crowded(SequenceModel):
    """An encoder that has memory for a few sequences at a time."""

    output_size = 2

    def __init__(self, error: Exception, room: int = 5):
        super().__init__()
        self.error = error
        self.room = room
        self.sizes: list[int] = []

    def forward(self, inputs, lengths, query):
        self.sizes.append(len(inputs))
        if len(inputs) > self.room:
            raise self.error
        return inputs[:, query[0].clamp(min=0)]

    def trace(self, inputs, lengths, query, *, differentiable=False):
        raise NotImplementedError

    def initialise(self, initialisation):
        """Has no weights."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_a_batch_that_does_not_fit_in_memory_is_halved_and_no_sequence_is_lost(split, error):
    encoder = Crowded(error)
    network = Network(encoder, FACTS.outputs)
    parts = [batch.inputs for batch, _ in answered(network, split)]
    assert encoder.sizes == [40, 20, 10, *[5] * 8]
    assert torch.equal(torch.cat(parts), split.inputs)


def test_other_errors_and_a_single_sequence_without_memory_are_raised(split):
    network = Network(Crowded(RuntimeError("shapes")), FACTS.outputs)
    with pytest.raises(RuntimeError, match="shapes"):
        evaluate(network, split, FACTS)
    assert network.training
    with pytest.raises(MemoryError):
        evaluate(Network(Crowded(MemoryError(), room=0), FACTS.outputs), split, FACTS)


PEAKS = """
import resource, sys
import torch, yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from lookback.data.batch import SequenceDataset
from lookback.data.task import Facts
from lookback.models.network import build_network
from lookback.training.evaluate import evaluate_with_predictions
from lookback.training.loss import answer_loss
from tests.cells import INITIALISATION

model, sequences, steps, queries, classes = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
facts = Facts("class", False, 2, steps, classes, "accuracy", 0.1, "none", {"train": 1})
query = torch.arange(steps - queries, steps).expand(sequences, -1)
target = torch.randint(classes, (sequences, queries))
inputs = torch.randn(sequences, steps, 2)
data = SequenceDataset(inputs, torch.full((sequences,), steps), query, target)
config = yaml.safe_load(open(f"conf/model/{model}.yaml"))
network = build_network(config, INITIALISATION, facts, seed=0)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

with sdpa_kernel(SDPBackend.MATH):  # the deterministic attention of a GPU
    for _ in range(2):
        batch = data.batch(slice(0, 64))
        answers = network(batch.inputs, batch.lengths, batch.query)
        answer_loss(answers, batch.query, batch.target, "class").backward()
    del answers
    training = peak()
    evaluate_with_predictions(0, network, data, facts)
    print(peak() / training)
"""


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("attention", (512, 100, 100, 10)),  # as many queries as steps
        ("lstm", (512, 64, 64, 2000)),  # as many classes as associative recall has tokens
        ("transformer", (512, 300, 1, 10)),
    ],
)
def test_evaluation_needs_at_most_half_more_memory_than_training(model, sizes):
    command = [sys.executable, "-c", PEAKS, model, *map(str, sizes)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert float(printed) < 1.5
