import pytest
import torch

from lookback.errors import NotApplicable
from lookback.models.network import build_network
from lookback.probes.attention_distance import AttentionDistance
from tests.cells import INITIALISATION
from tests.models.cases import shipped

from .runs import Recall, reading, recall, run_of

TASK = recall(length=30, lag=2, test=6)


def run_with(model: str, **changes):
    facts = Recall(length=30, lag=2, test=6).facts()
    return run_of(TASK, build_network(shipped(model, **changes), INITIALISATION, facts, seed=0))


def measured(run, sequences=5):
    return AttentionDistance(sequences, steps=1000).measure(run, generator=torch.Generator())


def test_attention_that_is_even_looks_back_half_the_way():
    """Zero keys: α = 1 / (q + 1) on every step up to q; the mean distance is q / 2."""
    run = run_with("transformer", causal=True)
    for layer in run.model.encoder.stack.layers:
        torch.nn.init.zeros_(layer.key.weight)
    frame = measured(run)
    query = run.task().dataset("test").query[:5]
    steps = query[query >= 0].double()
    assert frame[["layer", "head"]].values.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert frame.distance.tolist() == pytest.approx([steps.mean().item() / 2] * 4, rel=1e-5)
    nearest = (10 / (steps + 1)).clamp(max=1).mean().item()
    assert frame.nearest.tolist() == pytest.approx([nearest] * 4, rel=1e-5)


@pytest.mark.parametrize("model", ["attention", "transformer", "lstm_transformer"])
def test_distances_are_those_of_the_trace_summed_by_hand(model):
    run = run_with(model)
    frame = measured(run)
    data = run.task().dataset("test").batch(slice(5))
    trace = run.model.trace(data.inputs, data.lengths, data.query)[1]
    heads = trace.attention.unsqueeze(1) if trace.heads is None else trace.heads
    last = frame[frame["layer"] == frame["layer"].max()].set_index("head")
    for head in range(heads.shape[1]):
        away, near, count = 0.0, 0.0, 0
        for row, column in (data.query >= 0).nonzero().tolist():
            step = int(data.query[row, column])
            for s in range(30):
                weight = heads[row, head, column, s].item()
                away += weight * abs(step - s)
                near += weight * (abs(step - s) < 10)
            count += 1
        assert last.distance[head] == pytest.approx(away / count, rel=1e-4)
        assert last.nearest[head] == pytest.approx(near / count, rel=1e-4)


def test_padding_of_nan_is_not_looked_at():
    run = run_with("transformer")
    assert measured(run).notna().all(axis=None)


def test_a_model_without_attention_says_so():
    with pytest.raises(NotApplicable, match="GRU has no attention"):
        measured(run_with("gru"))
    with pytest.raises(NotApplicable, match="Reads has no attention"):
        measured(run_of(TASK, reading(2)))
