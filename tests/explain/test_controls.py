"""The controls: what they know, and that they unmask an explainer that ignores the model."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from lookback.explain.base import Attribution, attribution_of
from lookback.explain.controls import NAMES, UNTRAINED, controls, position
from lookback.explain.gradient_shap import GradientShap
from lookback.explain.saliency import Saliency
from lookback.explain.scores import Explained, scores
from tests.cells import padded

from .known import asked, gated, linear

COUNT = UNTRAINED + 4
LENGTHS = torch.tensor([7, 4, 1, 6] * (COUNT // 4))
INSIDE = torch.arange(7) < LENGTHS[:, None]
BACKGROUND = padded(torch.full((5,), 7), 7, 3, seed=1)
OUTPUT = torch.zeros(COUNT, dtype=torch.int64)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_position_is_the_mean_strength_of_the_other_sequences_that_have_the_step():
    values = drawn(COUNT, 7, 3) * INSIDE.unsqueeze(-1)
    found = position(values, INSIDE)
    for row, length in enumerate(LENGTHS.tolist()):
        for step in range(7):
            others = [
                values[other, step].abs()
                for other in range(COUNT)
                if other != row and LENGTHS[other] > step
            ]
            mean = torch.stack(others).mean(0)
            assert_close(found[row, step], mean if step < length else torch.zeros_like(mean))


def test_position_of_a_sequence_does_not_depend_on_its_own_values():
    values = drawn(COUNT, 7, 3) * INSIDE.unsqueeze(-1)
    changed = values.clone()
    changed[2] = 100 * changed[2]
    assert_close(position(values, INSIDE)[2], position(changed, INSIDE)[2])
    assert (position(values[:1], INSIDE[:1]) == 0).all()  # no other sequence


def scored(explainer, network, evidence) -> pd.Series:
    """The row of the score `evidence_auc`, with the initial network a fresh one."""
    inputs = padded(LENGTHS, 7, 3)
    batch = asked(inputs, LENGTHS)
    batch = replace(batch, evidence=evidence)
    generator = torch.Generator().manual_seed(0)
    given = {"background": BACKGROUND, "generator": generator}
    values = attribution_of(explainer, network, batch, OUTPUT, **given).values
    fresh = linear(drawn(4, 7, 3, seed=9))
    found = controls(explainer, values, batch, (fresh, batch, BACKGROUND), OUTPUT, generator)
    explained = Explained(network, batch, "value", OUTPUT, BACKGROUND)
    return scores(explained, values, found, generator).iloc[0]


class IgnoresTheModel:
    sequences = COUNT

    def attribute(self, model, batch, output, *, background, generator):
        return Attribution(batch.inputs.square())


def test_an_explainer_that_ignores_the_model_scores_as_on_an_untrained_network():
    """Evidence is the largest step, which the squares of the inputs find on every network."""
    strength = padded(LENGTHS, 7, 3).square().sum(-1)
    evidence = strength == strength.amax(1, keepdim=True)
    row = scored(IgnoresTheModel(), linear(drawn(4, 7, 3)), evidence.unsqueeze(1))
    assert row["score"] == "evidence_auc"
    assert row["value"] == row["untrained"] == row["oracle"] == 1
    assert row["magnitude"] > 0.9


def test_an_explainer_that_reads_the_model_scores_better_than_on_an_untrained_network():
    """The trained network reads step 2 alone, and the fresh network reads all steps."""
    weight = torch.zeros(4, 7, 3, dtype=torch.float64)
    weight[:, 2] = 1
    evidence = torch.zeros(COUNT, 1, 7, dtype=torch.bool)
    evidence[:, :, 2] = LENGTHS[:, None] > 2
    row = scored(Saliency(COUNT), linear(weight), evidence)
    assert row["value"] == row["oracle"] == 1
    assert row["untrained"] < 0.9
    assert row["position"] == 1  # the same step in all sequences: position alone finds it


def test_the_untrained_control_is_the_same_explainer_on_the_other_network():
    network, fresh = gated("lstm"), gated("gru")
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS)
    explainer, generator = GradientShap(COUNT, draws=4), torch.Generator().manual_seed(3)
    values = torch.zeros(COUNT, 7, 3, dtype=torch.float64)
    found = controls(explainer, values, batch, (fresh, batch, BACKGROUND), OUTPUT, generator)
    expected = attribution_of(
        explainer,
        fresh,
        batch.first(UNTRAINED),
        OUTPUT[:UNTRAINED],
        background=BACKGROUND,
        generator=torch.Generator().manual_seed(3),
    )
    assert_close(found["untrained"], expected.values)
    assert not network.training
    assert found.keys() == set(NAMES) - {"oracle"}


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_sequences_of_a_batch_keep_their_fields(count):
    batch = asked(padded(LENGTHS, 7, 3), LENGTHS)
    first = batch.first(count)
    assert torch.equal(first.inputs, batch.inputs[:count])
    assert torch.equal(first.query, batch.query[:count])
    assert first.evidence is None
