"""Computes attention for a part of the queries at a time, so that it needs little memory.

The attention weights of one query do not depend on other queries. With gradients, all queries are
computed at once, because the autograd graph stores their weights anyway.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

VALUES = 2**24  # maximum number of values in a tensor of attention scores (64 MiB in float32)


def queries_at_once(queries: int, values: int) -> int:
    """The number of queries to compute at once, if a query needs `values` values of memory."""
    if torch.is_grad_enabled():
        return queries
    return max(1, min(queries, VALUES // values))


def attend(
    q: Float[Tensor, "batch head query part"],
    k: Float[Tensor, "batch head time part"],
    v: Float[Tensor, "batch head time part"],
    visible: Bool[Tensor, "batch 1 _ time"],
) -> Float[Tensor, "batch head query part"]:
    """Scaled dot-product attention by torch's fastest kernel, for a part of the queries at a time.

    A query attends to the steps at which the mask `visible` is true. The mask has one row for each
    query, or one row for all queries. Of torch's kernels, the deterministic kernel for GPUs stores
    the scores of all queries that it gets.
    """
    batch, heads, queries, _ = q.shape
    size = queries_at_once(queries, batch * heads * k.shape[2])
    rows = visible.expand(-1, -1, queries, -1)
    parts = [
        functional.scaled_dot_product_attention(part, k, v, attn_mask=mask)
        for part, mask in zip(
            torch.split(q, size, dim=2), torch.split(rows, size, dim=2), strict=True
        )
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
