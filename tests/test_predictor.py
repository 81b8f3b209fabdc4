"""What MLflow's model answers, against the network and the stages that it came from."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lookback.data.adding import Adding
from lookback.data.associative_recall import AssociativeRecall
from lookback.data.generated import GeneratedTask
from lookback.data.prepare import asked
from lookback.data.selective_copy import SelectiveCopy
from lookback.data.task import SPLITS
from lookback.data.temporal_order import TemporalOrder
from lookback.models.network import build_network
from lookback.predictor import Predictor, _load_pyfunc
from lookback.storage.atomic import write_json, write_text
from lookback.training.evaluate import evaluate_with_predictions
from tests.data.definitions import CASES as TASKS
from tests.models.cases import CASES, shipped
from tests.tracking.tree import RECIPE

SIZES = {"train": 5, "validation": 3, "test": 12, "seed": 0, "fresh": False}
ADDING = Adding(length=8, **SIZES)
COPY = SelectiveCopy(length=20, symbols=5, items=4, **SIZES)
ORDER = TemporalOrder(length=33, marks=2, **SIZES)
RECALL = AssociativeRecall(
    length=24, vocabulary=16, pairs=3, power=1.0, random_non_queries=False, **SIZES
)


def predictor(task: GeneratedTask, model: dict[str, Any] | None = None) -> Predictor:
    """A predictor with weights that no training has changed."""
    facts, settings = task.facts(), model or shipped("gru")
    network = build_network(settings, RECIPE["initialisation"], facts, seed=1).eval()
    datasets = [task.dataset(split) for split in SPLITS]
    shortest = min(int(data.lengths.min()) for data in datasets)
    return Predictor(network, facts, shortest, asked(datasets))


@pytest.mark.parametrize("task", [TASKS["listops"].task(), ORDER], ids=["tokens", "vectors"])
@pytest.mark.parametrize("name", CASES)
def test_a_padded_batch_with_lengths_answers_as_each_sequence_alone(name, task):
    model, data = predictor(task, CASES[name][0]), task.dataset("test").batch(slice(None))
    assert data.lengths.unique().numel() > 1
    inputs, lengths = data.inputs.numpy(), data.lengths.tolist()
    alone = [model.predict(inputs[row : row + 1, :n])[0] for row, n in enumerate(lengths)]
    together = model.predict(inputs, {"lengths": lengths})
    np.testing.assert_allclose(together, alone, atol=1e-5)
    wrong = model.predict(inputs, {"lengths": [inputs.shape[1]] * len(inputs)})
    assert np.abs(wrong - alone).max() > 1e-3


@pytest.mark.parametrize("task", [COPY, RECALL, ORDER, ADDING])
def test_all_answers_are_the_predictions_of_the_stage(task):
    model, data = predictor(task), task.dataset("test")
    _, table = evaluate_with_predictions(0, model.network, data, model.facts)
    params = {"lengths": data.lengths.tolist()}
    if model.asked is None:
        params["queries"] = data.query.flatten().tolist()
    answers = model.predict(data.batch(slice(None)).inputs.numpy(), params).reshape(len(table), -1)
    if model.facts.kind == "class":
        assert answers.argmax(1).tolist() == table["prediction"].tolist()
        np.testing.assert_allclose(answers.max(1), table["probability"], atol=1e-5)
    else:
        np.testing.assert_allclose(answers[:, 0], table["prediction"], atol=1e-5)


def test_one_query_has_no_axis_of_queries_and_several_have_one():
    model, inputs = predictor(COPY), COPY.dataset("test").batch(slice(None)).inputs.numpy()
    answers = model.predict(inputs)
    assert answers.shape == (12, 4, 5)
    np.testing.assert_allclose(answers.sum(-1), 1, atol=1e-5)
    rows = np.tile([19, 3], (12, 1))
    chosen = model.predict(inputs, {"queries": rows})
    assert np.array_equal(chosen, model.predict(inputs, {"queries": rows.ravel()}))
    np.testing.assert_allclose(chosen[:, 0], answers[:, -1], atol=1e-6)
    assert model.predict(inputs, {"queries": [19] * 12}).shape == (12, 5)
    assert predictor(ADDING).predict(ADDING.dataset("test").batch(slice(None)).inputs).shape == (
        12,
        1,
    )


CONVERSIONS = {
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "objects": lambda values: values.astype(object),
    "nested list": lambda values: values.tolist(),
    "list of arrays": list,
    "torch": torch.from_numpy,
}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_numbers_of_any_type_are_answered_alike(convert):
    model = predictor(ADDING)
    inputs = np.random.default_rng(0).integers(0, 5, (3, 8, 2)) / 4  # exact in every type
    assert np.array_equal(model.predict(convert(inputs)), model.predict(inputs))


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.float32, np.float64, list])
def test_token_ids_and_whole_features_of_any_type_are_answered_alike(kind):
    for task, inputs in (
        (COPY, COPY.dataset("test").batch(slice(None)).inputs.numpy()),
        (ADDING, np.random.default_rng(0).integers(0, 255, (3, 8, 2))),
    ):
        model = predictor(task)
        given = inputs.tolist() if kind is list else inputs.astype(kind)
        assert np.array_equal(model.predict(given), model.predict(inputs))


def test_values_behind_the_length_change_nothing():
    vectors, data = predictor(ORDER), ORDER.dataset("test").batch(slice(None))
    is_inside = np.arange(33) < data.lengths.numpy()[:, None]
    inputs, params = data.inputs.numpy(), {"lengths": data.lengths.tolist()}
    filled = np.where(is_inside[..., None], inputs, np.nan)
    assert np.array_equal(vectors.predict(filled, params), vectors.predict(inputs, params))
    tokens, inputs = predictor(COPY), COPY.dataset("test").batch(slice(None)).inputs.numpy()
    params = {"lengths": [17] * 12, "queries": [16] * 12}
    expected = tokens.predict(inputs[:, :17], {"queries": [16] * 12})
    for padding in (-100, 1000, np.nan):
        filled = np.where(np.arange(20) < 17, inputs, padding)
        np.testing.assert_allclose(tokens.predict(filled, params), expected, atol=1e-6)


def test_a_batch_of_one_or_of_a_task_of_one_length_needs_no_lengths():
    inputs = ORDER.dataset("test").batch(slice(None)).inputs.numpy()
    assert predictor(ORDER).predict(inputs[:1]).shape == (1, 4)
    assert predictor(ADDING).predict(
        ADDING.dataset("test").batch(slice(None)).inputs.numpy()
    ).shape == (12, 1)


NUMBERS = np.zeros((3, 8, 2), np.float32)
WITH_NAN, INFINITE, TOO_LARGE = NUMBERS.copy(), NUMBERS.copy(), NUMBERS.astype(float)
WITH_NAN[1, 5, 1], INFINITE[0, 2, 0], TOO_LARGE[2, 7, 0] = np.nan, np.inf, 1e300
LENGTHS = {"lengths": [33, 30, 31]}
STEPS = np.zeros((3, 33, 8), np.float32)
TOKENS = np.zeros((3, 20), np.int64)


@pytest.mark.parametrize(
    ("task", "inputs", "params", "message"),
    [
        (ADDING, NUMBERS[0], {}, r"shape \(8, 2\), .* \(sequence, step, feature\)\. .*None"),
        (ADDING, NUMBERS[..., :1], {}, r"have 1 features per step, .* trained on 2\. Give 2"),
        (ADDING, NUMBERS[:0], {}, r"without any sequence\. Give at least one sequence"),
        (ADDING, NUMBERS[:, :0], {}, r"without any step\. Give at least one step"),
        (ADDING, [[[0.0, 1.0]], [[0.0, 1.0]] * 2], {}, r"not an array .* Pad .*'lengths'"),
        (ADDING, NUMBERS.astype(str), {}, r"have the type <U32\. Give numbers"),
        (ADDING, None, {}, r"shape \(\), but the model needs the axes"),
        (ADDING, {"a": NUMBERS}, {}, r"not an array of numbers"),
        (ADDING, WITH_NAN, {}, r"Sequence 1 has the input nan at step 5\. .* finite"),
        (ADDING, INFINITE, {}, r"Sequence 0 has the input inf at step 2"),
        (ADDING, TOO_LARGE, {}, r"Sequence 2 has the input 1e\+300 at step 7\. .* float32"),
        (ADDING, NUMBERS, {"lengths": [8, 9, 8]}, r"Sequence 1 has the length 9, .* 1 to 8"),
        (ADDING, NUMBERS, {"lengths": [8, 8, 0]}, r"Sequence 2 has the length 0"),
        (ADDING, NUMBERS, {"lengths": [8, 8]}, r"`lengths` has the shape \(2,\), .* 3 sequences"),
        (ADDING, NUMBERS, {"lengths": [8, 8, 7.5]}, r"`lengths` has the type float64\. Give whole"),
        (ADDING, NUMBERS, {"queries": [7, 8, 7]}, r"Sequence 1 has 8 steps, .* step 8\. .* from 0"),
        (ADDING, NUMBERS, {"queries": [7, 7, -1]}, r"Sequence 2 has 8 steps, .* at step -1"),
        (ADDING, NUMBERS, {"queries": [7, 7]}, r"`queries` has the shape \(2,\), .* same number"),
        (ADDING, NUMBERS, {"queries": [[7], [6], [5, 4]]}, r"`queries` is not an array of whole"),
        (ADDING, NUMBERS, {"queries": [7, 7, 7], "lengths": [8, 8, 7]}, r"Sequence 2 has 7 steps"),
        (ADDING, NUMBERS, {"length": [8] * 3}, r"no setting 'length' .* Did you mean 'lengths'\?"),
        (ADDING, [[[10**400, 0]]], {}, r"an integer that is too large"),
        (ADDING, NUMBERS, {"lengths": [8, 8, 10**400]}, r"`lengths` holds .* no integer of 64"),
        (ADDING, NUMBERS, {"lengths": [2**63] * 3}, r"`lengths` holds .* no integer of 64"),
        (ORDER, STEPS, {}, r"to 33 steps, .* 3 sequences\. .*'lengths'.* one sequence at"),
        (ORDER, STEPS, {"lengths": [], "queries": [32] * 3}, r"params=\{'lengths': \[\.\.\.\]\}"),
        (ORDER, STEPS, {**LENGTHS, "queries": [32] * 3}, r"Sequence 1 has 30 steps"),
        (RECALL, np.zeros((1, 24), int), {}, r"different steps, .*\{'queries': \[\.\.\.\]\}"),
        (COPY, TOKENS[0], {}, r"shape \(20,\), but the model needs the axes \(sequence, step\)"),
        (COPY, TOKENS + 7, {}, r"Sequence 0 has the input 7 at step 0\. .* from 0 to 6"),
        (COPY, TOKENS - 1, {}, r"Sequence 0 has the input -1 at step 0\."),
        (COPY, TOKENS + 0.5, {}, r"Sequence 0 has the input 0\.5 at step 0\. .* whole number"),
        (COPY, TOKENS + np.nan, {}, r"Sequence 0 has the input nan at step 0"),
        (COPY, TOKENS, {"lengths": [20, 3, 20]}, r"Sequence 1 has 3 steps, .* at step -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_with_a_cure(task, inputs, params, message):
    with pytest.raises(ValueError, match=message):
        predictor(task).predict(inputs, params)


def test_a_frame_of_tokens_is_answered_as_its_array():
    inputs = COPY.dataset("test").batch(slice(None)).inputs.numpy()
    model = predictor(COPY)
    assert np.array_equal(model.predict(pd.DataFrame(inputs)), model.predict(inputs))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "attention", "lstm_transformer"])
def test_a_model_saved_before_its_class_had_more_settings_answers_as_it_did(tmp_path, name):
    model = predictor(ORDER, shipped(name))
    newer = ("bias", "layer_norm", "recurrent_dropout")
    older = {key: value for key, value in shipped(name).items() if key not in newer}
    if "encoder" in older:
        newer = (*newer, "bidirectional")
        kept = {key: value for key, value in older["encoder"].items() if key not in newer}
        older["encoder"] = kept
    config = {"model": older, "recipe": {"initialisation": RECIPE["initialisation"]}}
    write_text(tmp_path / "config.yaml", yaml.safe_dump(config))
    write_json(tmp_path / "task.json", ORDER.facts().to_dict())
    torch.save(model.network.state_dict(), tmp_path / "weights.ckpt")
    inputs = ORDER.dataset("test").batch(slice(0, 1)).inputs.numpy()
    loaded = _load_pyfunc(str(tmp_path))
    np.testing.assert_array_equal(loaded.predict(inputs), model.predict(inputs))
