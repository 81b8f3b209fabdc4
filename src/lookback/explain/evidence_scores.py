"""How well an attribution finds the evidence steps of a sequence, by the strength of each step.

The strength of a step is Σ_f |value|. n is the number of steps within the length of the sequence
and k the number of evidence steps. «Above» means a larger strength; ties are counted as described.

evidence_auc    Area under the ROC curve: the share of pairs of an evidence step and another step in
                which the evidence step is above, where equal values count half. Random: 0.5.
evidence_auprc  Average precision, the area under the precision–recall curve: the mean over evidence
                steps of the share of evidence among all steps that are not below it. Unlike the
                ROC curve, it falls if a few other steps of a long sequence are above.
evidence_hits   Share of the evidence among the k strongest steps (hit@k, and for k = 1 the pointing
                game), as the mean over all orders of equal steps. Random: k / n.
evidence_mass   Share of the strength that lies on the evidence. Random: about k / n.

The first three depend on the order of the strengths only. A monotone rescaling of the strengths,
which can raise the share of the strength to any value, changes them by exactly zero.

A score is NaN if all steps of a sequence are evidence, or if none is.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NAMES = ("evidence_auc", "evidence_auprc", "evidence_hits", "evidence_mass")
# To limit memory, one pass has at most this many sequences × evidence steps × time steps.
PAIRS_AT_ONCE = 4_194_304


def evidence_scores(
    values: Float[Tensor, "batch time feature"],
    evidence: Bool[Tensor, "batch time"],
    inside: Bool[Tensor, "batch time"],
) -> dict[str, Float[Tensor, " batch"]]:
    """The four scores of each sequence, by name. `inside` marks the steps within its length."""
    strength = values.abs().sum(dim=-1).double().masked_fill(~inside, -torch.inf)
    evidence, most = evidence & inside, int((evidence & inside).sum(dim=1).max())
    size = max(1, PAIRS_AT_ONCE // max(1, most * strength.shape[1]))
    rows = [slice(start, start + size) for start in range(0, len(strength), size)]
    parts = [_scores(strength[part], evidence[part], inside[part], most) for part in rows]
    scores = torch.cat(parts, dim=1)
    return dict(zip(NAMES, scores, strict=True))


def _scores(
    strength: Float[Tensor, "batch time"],
    evidence: Bool[Tensor, "batch time"],
    inside: Bool[Tensor, "batch time"],
    most: int,
) -> Float[Tensor, "score batch"]:
    """The scores of sequences with at most `most` evidence steps, in the order of NAMES."""
    k, n = evidence.sum(dim=1), inside.sum(dim=1)
    # The strengths of the evidence steps (B, most, 1), of which only the first k count.
    places = evidence.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    positive = strength.gather(1, places).unsqueeze(2)
    counts = torch.arange(most, device=k.device) < k.unsqueeze(1)

    def mean_over_evidence(of_step: Tensor) -> Tensor:
        return of_step.where(counts, 0.0).sum(dim=1) / k

    above, not_below = strength.unsqueeze(1) > positive, strength.unsqueeze(1) >= positive
    other, marked = (inside & ~evidence).unsqueeze(1), evidence.unsqueeze(1)
    losses = ((above & other).sum(dim=2) + (not_below & other).sum(dim=2)) / 2
    area = 1 - mean_over_evidence(losses) / (n - k)
    hits_not_below = (not_below & marked).sum(dim=2)
    precision = mean_over_evidence(hits_not_below / (not_below & inside.unsqueeze(1)).sum(dim=2))

    ordered = strength.sort(dim=1, descending=True).values
    weakest = ordered.gather(1, (k - 1).clamp(min=0).unsqueeze(1))  # of the k strongest
    is_above, is_equal = strength > weakest, strength == weakest
    share = (is_equal & evidence).sum(dim=1) / is_equal.sum(dim=1)
    free = k - is_above.sum(dim=1)
    hits = ((is_above & evidence).sum(dim=1) + free * share) / k

    positive_part = strength.where(inside, 0.0)
    total = positive_part.sum(dim=1)
    mass = torch.where(total > 0, positive_part.where(evidence, 0.0).sum(dim=1) / total, k / n)
    scores = torch.stack([area, precision, hits, mass]).double()
    return scores.masked_fill((k == 0) | (k == n), torch.nan)
