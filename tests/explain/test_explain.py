import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lookback.data.batch import SequenceDataset
from lookback.explain import controls, evidence_scores, explain
from lookback.models.network import Network
from lookback.models.rnn import RNN
from lookback.storage.provenance import plans_of
from lookback.storage.tables import read_npz, read_parquet
from lookback.training.run import load_runs
from tests.cells import GRU, MARKED, PLANS, TOKENS, Marked, write_cell, write_plan
from tests.shipped import make_layer

OCCLUSION = {
    "_target_": "lookback.explain.occlusion.Occlusion",
    "sequences": 5,
    "windows": 64,
    "each_feature": False,
    "baseline": "mean",
    "draws": 8,
}
GRADIENTS = {
    "_target_": "lookback.explain.integrated_gradients.IntegratedGradients",
    "sequences": 5,
    "points": 32,
    "baseline": "mean",
}
ATTENTION = {"_target_": "lookback.explain.attention.Attention", "sequences": 5}


def explained(tmp_path, task, explainer):
    cell = write_cell(tmp_path, task, GRU)
    plan = write_plan(tmp_path, "explain", "explainer", explainer)
    out = cell / "explain" / "name.npz"
    explain.main(plan, cell, out)
    table = out.with_name("name.scores.parquet")
    assert plans_of(out) == plans_of(table) == {**PLANS, "explain": plan.stem}
    return cell, read_npz(out), read_parquet(table)


def areas_of(scores):
    return scores[scores.score == "evidence_auc"]


@pytest.mark.parametrize("kind", ["class", "value"])
def test_gradients_of_each_seed_add_up_to_its_answer_at_the_last_query(tmp_path, kind):
    cell, found, scores = explained(tmp_path, {**MARKED, "kind": kind}, GRADIENTS)
    test = Marked(kind).dataset("test").batch(slice(5))
    train = Marked(kind).dataset("train")
    assert found["values"].shape == (2, 5, 7, 2)
    assert found["values"].dtype == np.float32
    assert found["seeds"].tolist() == [0, 1]
    assert found["reason"] == ""
    np.testing.assert_array_equal(found["inputs"], test.inputs.numpy())
    np.testing.assert_array_equal(found["lengths"], test.lengths.numpy())
    np.testing.assert_array_equal(found["target"], test.target[:, 1].flatten().numpy())

    for place, run in enumerate(load_runs(cell)):
        generator = torch.Generator().manual_seed(run.seed)
        mean = explain.background_of(run.model, train, 7, generator).mean(0).expand(5, 7, 2)
        with torch.no_grad():
            here = run.model(test.inputs, test.lengths, test.query)[:, 1]
            there = run.model(mean, test.lengths, test.query)[:, 1]
        output = here.argmax(1) if kind == "class" else torch.zeros(5, dtype=torch.int64)
        assert found["output"][place].tolist() == output.tolist()
        prediction = output if kind == "class" else here[:, 0]
        np.testing.assert_allclose(found["prediction"][place], prediction, rtol=1e-5)
        change = (here - there).gather(1, output[:, None])[:, 0].numpy()
        np.testing.assert_allclose(found["values"][place].sum((1, 2)), change, atol=1e-4)
        assert found["error"][place].max() < 1e-4
    assert found["baseline"] == "mean"

    of_seeds = ["seed", "score", "value", "chance", *controls.NAMES, "share", "gap", "wide"]
    assert list(scores.columns) == of_seeds
    assert (scores.gap < 1e-3).all()
    assert (scores.wide == 0).all()
    assert scores.seed.tolist() == [0] * 5 + [1] * 5
    assert scores.score.tolist() == [*evidence_scores.NAMES, "deletion"] * 2
    right = [
        1.0 if kind == "value" else (output == test.target[:, 1]).double().mean()
        for output in torch.from_numpy(found["output"])
    ]
    assert areas_of(scores).share.tolist() == right
    areas = np.where(found["is_right"], found["evidence_auc"], np.nan)
    for place, value in enumerate(areas_of(scores)["value"]):
        if right[place]:
            assert value == pytest.approx(np.nanmean(areas[place]))
    areas = areas_of(scores)
    assert (areas.chance == 0.5).all()
    assert (areas.oracle[areas.share > 0] == 1).all()
    assert scores[scores.share > 0].drop(columns="untrained").notna().all(axis=None)
    drops = scores[scores.score == "deletion"]["value"]
    assert drops.to_list() == pytest.approx(found["deletion"].mean(axis=1).tolist())


def test_the_same_files_come_out_twice(tmp_path):
    first, second = (
        explained(tmp_path / name, MARKED, OCCLUSION)[1:] for name in ("first", "second")
    )
    assert first[1].equals(second[1])
    for name, array in first[0].items():
        np.testing.assert_array_equal(array, second[0][name])
    assert "error" not in first[0]
    assert first[0]["baseline"] == "mean"


def test_tokens_are_explained_through_their_embedding_and_kept_as_ids(tmp_path):
    cell, found, scores = explained(tmp_path, TOKENS, GRADIENTS)
    tokens = next(load_runs(cell)).task().dataset("test").inputs[:5]
    assert found["values"].shape == (2, 5, 6, GRU["embedding_size"])
    np.testing.assert_array_equal(found["inputs"], tokens.unsqueeze(-1).numpy())
    assert found["error"].max() < 1e-4
    assert set(scores.score) == {"deletion"}
    assert scores.oracle.isna().all()  # the task does not know its evidence
    assert scores.untrained.notna().all()


def test_where_it_does_not_apply_both_files_say_why(tmp_path):
    _, found, scores = explained(tmp_path, MARKED, ATTENTION)
    assert found["reason"] == "GRU has no attention weights"
    assert found.keys() == {"seeds", "reason"}
    assert scores.to_dict("list") == {
        "seed": [0, 1],
        "reason": ["GRU has no attention weights"] * 2,
    }


def test_past_the_length_of_a_training_sequence_the_background_is_the_mean_step():
    inputs = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 4.0, 5.0]]).unsqueeze(-1)
    lengths = torch.tensor([2, 3])
    train = SequenceDataset(inputs, lengths, lengths.unsqueeze(1) - 1, lengths.unsqueeze(1))
    network = Network(make_layer(RNN, 1, 2), 1)
    for time, sums in ((2, [4, 6]), (5, [4, 6, 8, 6, 6])):  # mean step 3
        background = explain.background_of(network, train, time, torch.Generator())
        assert_close(background.sum((0, 2)), torch.tensor(sums, dtype=torch.float32))
