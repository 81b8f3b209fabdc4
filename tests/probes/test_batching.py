import pytest
import torch
from torch.testing import assert_close

from lookback.models.network import build_network
from lookback.probes import batching
from lookback.probes.batching import answers_to, batches
from tests.cells import INITIALISATION
from tests.models.cases import shipped

from .runs import Recall


@pytest.mark.parametrize("model", ["gru", "attention", "transformer"])
def test_answers_in_parts_are_those_all_at_once(monkeypatch, model):
    task = Recall(length=9, lag=2, test=11)
    network = build_network(shipped(model), INITIALISATION, task.facts(), seed=0).eval()
    data = task.dataset("test")
    expected = network(data.inputs, data.lengths, data.query)[:10]
    monkeypatch.setattr(batching, "STEPS", 36)
    monkeypatch.setattr(batching, "SQUARES", 243)
    monkeypatch.setattr(batching, "PAIRS", 60)
    parts = list(batches(network, data, 10))
    assert [len(part.query) for part in parts] == ([4, 4, 2] if model == "gru" else [3, 3, 3, 1])
    found = torch.cat([answers_to(network, part) for part in parts])
    asked = data.query[:10] >= 0
    assert_close(found[asked], expected[asked])
