import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from lookback.explain import evidence_scores as module
from lookback.explain.evidence_scores import NAMES, evidence_scores

LENGTHS = torch.tensor([10, 6, 9])
INSIDE = torch.arange(10) < LENGTHS[:, None]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted() -> torch.Tensor:
    evidence = torch.zeros(3, 10, dtype=torch.bool)
    evidence[0, [1, 9]] = evidence[1, 4] = evidence[2, 0] = True
    return evidence


def test_attribution_on_the_evidence_alone_scores_one_and_off_it_zero():
    evidence = planted()
    on = evidence.unsqueeze(-1) * torch.tensor([0.5, -2.0])  # the sign does not matter
    off = (INSIDE & ~evidence).unsqueeze(-1) * torch.tensor([0.5, -2.0])
    best, worst = evidence_scores(on, evidence, INSIDE), evidence_scores(off, evidence, INSIDE)
    for name in NAMES:
        assert best[name].tolist() == [1, 1, 1]
        if name != "evidence_auprc":  # of the last of n steps, the precision is k / n
            assert worst[name].tolist() == [0, 0, 0]
    assert worst["evidence_auprc"].tolist() == pytest.approx([2 / 10, 1 / 6, 1 / 9])


def test_areas_equal_sklearns_with_ties_and_leave_padding_out():
    values = (drawn(3, 10, 2) * 2).round()
    found = evidence_scores(values, planted(), INSIDE)
    strength = values.abs().sum(-1).numpy()
    for row, length in enumerate(LENGTHS.tolist()):
        given = planted()[row, :length].numpy(), strength[row, :length]
        assert found["evidence_auc"][row].item() == pytest.approx(roc_auc_score(*given))
        assert found["evidence_auprc"][row].item() == pytest.approx(average_precision_score(*given))


def test_hits_are_the_mean_over_all_orders_of_equal_steps_and_mass_is_a_share():
    values = torch.tensor([[3.0, 1, 1, 1, 0, 0, 0, 0, 0, 0]]).unsqueeze(-1)
    evidence = torch.zeros(1, 10, dtype=torch.bool)
    evidence[0, [0, 1]] = True
    found = evidence_scores(values, evidence, torch.ones_like(evidence))
    # The first step is a hit. The second of the k = 2 places goes to one of three equal steps.
    assert found["evidence_hits"].item() == pytest.approx((1 + 1 / 3) / 2)
    assert found["evidence_mass"].item() == pytest.approx(4 / 6)


def test_a_constant_attribution_scores_as_random_and_no_evidence_has_no_score():
    evidence = planted()
    evidence[2] = False
    for level in (0.0, 1.0):
        found = evidence_scores(torch.full((3, 10, 1), level), evidence, INSIDE)
        assert found["evidence_auc"][:2].tolist() == [0.5, 0.5]
        for name in NAMES[1:]:
            assert found[name][:2].tolist() == pytest.approx([2 / 10, 1 / 6])
        assert all(scores[2].isnan() for scores in found.values())


def test_a_random_attribution_scores_a_half_on_average():
    evidence = torch.zeros(2000, 10, dtype=torch.bool)
    evidence[:, 3] = True
    found = evidence_scores(drawn(2000, 10, 1), evidence, torch.ones_like(evidence))
    assert found["evidence_auc"].mean().item() == pytest.approx(0.5, abs=0.03)  # 4 standard errors
    assert found["evidence_hits"].mean().item() == pytest.approx(0.1, abs=0.03)
    # The precision of one evidence step is 1 / rank, with the mean H_10 / 10.
    harmonic = sum(1 / rank for rank in range(1, 11)) / 10
    assert found["evidence_auprc"].mean().item() == pytest.approx(harmonic, abs=0.03)


def test_small_passes_give_what_one_pass_gives(monkeypatch):
    whole = evidence_scores(drawn(3, 10, 2), planted(), INSIDE)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 1)
    parts = evidence_scores(drawn(3, 10, 2), planted(), INSIDE)
    assert all(torch.equal(whole[name], parts[name]) for name in NAMES)


@pytest.mark.parametrize("seed", range(50))
def test_a_monotone_rescaling_of_the_strengths_changes_nothing_at_all(seed):
    generator = torch.Generator().manual_seed(seed)
    largest = 2 + seed  # few different values have many ties
    steps = torch.randint(-largest, largest + 1, (3, 10, 1), generator=generator).double()
    evidence = torch.rand(3, 10, generator=generator) < 0.3
    rescaled = steps.sign() * steps.abs() ** 0.1
    before = evidence_scores(steps, evidence, INSIDE)
    after = evidence_scores(rescaled, evidence, INSIDE)
    for name in NAMES[:3]:
        assert torch.equal(before[name].nan_to_num(-1), after[name].nan_to_num(-1))


def test_the_share_of_the_mass_is_not_rank_safe():
    """Two maps with the same order of the steps have different shares, as its definition says."""
    values = drawn(3, 10, 1)
    flat = evidence_scores(values.sign() * values.abs() ** 0.1, planted(), INSIDE)
    sharp = evidence_scores(values.sign() * values.abs() ** 5, planted(), INSIDE)
    assert (flat["evidence_mass"] - sharp["evidence_mass"]).abs().max() > 0.1
