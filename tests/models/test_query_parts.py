"""Attention for a part of the queries at a time, against all queries at once."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from lookback.models import query_parts
from lookback.models.query_parts import attend

from .cases import CASES, build, questions

WITH_ATTENTION = [name for name in CASES if "attention" in name or "transformer" in name]


@pytest.mark.parametrize("rows", [1, 7])
def test_attention_in_parts_is_that_of_all_queries(monkeypatch, rows):
    q, k, v = (torch.randn(3, 2, time, 4) for time in (7, 9, 9))
    visible = torch.rand(3, 1, rows, 9) > 0.3
    visible[..., 0] = True
    wanted = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    sizes = []
    plain = functional.scaled_dot_product_attention

    def spy(q, k, v, attn_mask):
        sizes.append(q.shape[2])
        return plain(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(query_parts, "VALUES", 3 * 2 * 9 * 2 + 1)  # two queries
    with torch.no_grad():
        assert_close(attend(q, k, v, visible), wanted)
    assert sizes == [2, 2, 2, 1]
    assert_close(attend(q, k, v, visible), wanted)
    assert sizes[4:] == [7]  # the graph of a backward pass stores all queries anyway


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_a_model_that_answers_one_query_at_a_time_gives_the_same_answers(monkeypatch, name):
    model, (inputs, lengths, query) = build(name), questions()
    wanted = model(inputs, lengths, query).detach()
    monkeypatch.setattr(query_parts, "VALUES", 1)
    with torch.no_grad():
        assert_close(model(inputs, lengths, query), wanted)
