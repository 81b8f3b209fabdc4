"""A model that MLflow loads, from a file and from a server, against the network it was made of."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import sklearn.datasets
import torch
import yaml
from mlflow import MlflowClient

from lookback.data.images import ImageTask
from lookback.models.network import build_network
from lookback.predictor import Predictor, _load_pyfunc
from lookback.storage.atomic import read_json, write_json
from lookback.tracking.model import save_model
from lookback.tracking.read_results import Record
from lookback.tracking.track import track
from tests.shipped import model_config

from .rows import count
from .tree import FACTS, RECIPE, Study, complete

OUT = Path("results/tiny/tracked/receipt.json")
VALUE = replace(FACTS, kind="value", metric="mse", outputs=2)
SCALED = replace(FACTS, mean=(1.0, -2.0, 0.5), scale=(2.0, 255.0, 0.1))
TOKENS = replace(FACTS, tokens=True, features=6)


def absolute() -> str:
    return f"sqlite:///{Path('results/mlflow.db').resolve()}"


def assert_answers_like_its_network(study: Study, uri: str) -> None:
    run = read_json(OUT)["runs"]["marks/gru"]["seeds"]["1"]
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    facts, generator = study.facts, torch.Generator().manual_seed(3)
    if facts.tokens:
        inputs = torch.randint(facts.features, (3, 5), generator=generator)
    else:
        inputs = torch.randn(3, 5, facts.features, generator=generator)
    given = inputs.numpy()
    if facts.scale:  # raw, as a user has them
        given = (given * np.array(facts.scale) + np.array(facts.mean)).astype(np.float32)
    with torch.no_grad():
        lengths = torch.full((3,), 5)
        expected = study.network("gru", 1)(inputs, lengths, lengths.unsqueeze(1) - 1)[:, 0]
        if facts.kind == "class":
            expected = expected.exp() / expected.exp().sum(1, keepdim=True)
    np.testing.assert_allclose(model.predict(given), expected.numpy(), atol=1e-5)
    example = model.input_example
    assert np.asarray(model.predict(example)).shape == (1, facts.outputs)


@pytest.mark.parametrize(
    "facts", [FACTS, VALUE, TOKENS, SCALED], ids=["class", "value", "tokens", "scaled"]
)
def test_a_loaded_model_answers_as_its_network_does(facts):
    study = Study(models=("gru",), facts=facts)
    track(complete(study), "sqlite:///results/mlflow.db", OUT)
    assert_answers_like_its_network(study, absolute())


def test_a_model_names_what_it_needs_with_versions():
    track(complete(Study(models=("gru",))), "sqlite:///results/mlflow.db", OUT)
    run = read_json(OUT)["runs"]["marks/gru"]["seeds"]["0"]
    client = MlflowClient(absolute())
    needed = Path(client.download_artifacts(run, "model/requirements.txt")).read_text().split()
    assert f"torch=={torch.__version__.partition('+')[0]}" in needed
    assert all("==" in line for line in needed)


def test_a_server_takes_a_study_once_and_gives_its_models_back(server: str):
    study = Study(models=("gru",), points=900)
    plan = complete(study)
    track(plan, server, OUT)
    before = count()
    track(plan, server, OUT)
    assert count() == before
    assert_answers_like_its_network(study, server)
    assert not Path("mlartifacts").exists()


def test_raw_digits_give_the_answers_that_training_left():
    """Grey values from 0 to 16, as the file has them, against inputs that the task scaled."""
    table = np.loadtxt(load_digits_file(), delimiter=",")[:7]
    task = Rows(table)
    facts = task.facts()
    settings = model_config("gru.GRU", hidden_size=5)
    network = build_network(settings, RECIPE["initialisation"], facts, seed=3).eval()
    scaled = task.dataset("test")
    with torch.no_grad():
        expected = network(scaled.inputs, scaled.lengths, scaled.query)[:, 0].softmax(-1)
    raw = table[:, :-1].reshape(-1, 8, 8).astype(np.float32)
    answers = Predictor(network, facts, shortest=8, asked=[-1]).predict(raw)
    assert np.array_equal(answers, expected.numpy())


def test_a_model_stored_before_encoders_named_their_directions_still_loads(tmp_path):
    facts = Rows(np.loadtxt(load_digits_file(), delimiter=",")[:7]).facts()
    encoder = model_config("gru.GRU", _partial_=True)
    settings = model_config("attention.AttentionModel", hidden_size=5, encoder=encoder)
    network = build_network(settings, RECIPE["initialisation"], facts, seed=3)
    del encoder["bidirectional"]
    config = {"model": settings | {"encoder": encoder}, "recipe": RECIPE}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(tmp_path / "task.json", facts.to_dict())
    torch.save(network.state_dict(), tmp_path / "weights.ckpt")
    inputs = np.zeros((2, 8, 8), np.float32)
    expected = Predictor(network.eval(), facts, shortest=8, asked=[-1]).predict(inputs)
    assert np.array_equal(_load_pyfunc(str(tmp_path)).predict(inputs), expected)


def saved_model(folder: Path, **described: object) -> tuple[Study, mlflow.pyfunc.PyFuncModel]:
    """The model of a seed as `save_model` writes it, with more entries in its task.json."""
    study = Study(models=("gru",), facts=TOKENS)
    complete(study)
    write_json("task.json", {**TOKENS.to_dict(), **described})
    cell = Path("results/tiny/marks/gru")
    files = {"config.yaml": cell / "config.yaml", "task.json": Path("task.json")}
    files["weights.ckpt"] = cell / "checkpoints" / "seed=0.ckpt"
    save_model(folder, Record({}, end=1, model=files), "0" * 32)
    return study, mlflow.pyfunc.load_model(str(folder))


def test_a_saved_model_takes_lengths_and_queries_as_params(project, tmp_path):
    study, model = saved_model(tmp_path / "saved", shortest=3, asked=[-1])
    inputs, lengths = torch.arange(18).view(3, 6) % 6, torch.tensor([6, 3, 4])
    query = torch.stack([lengths - 1, lengths - 2], dim=1)
    with torch.no_grad():
        expected = study.network("gru", 0)(inputs, lengths, query).softmax(-1).numpy()
    given = inputs.tolist()
    with pytest.raises(ValueError, match="Give params="):
        model.predict(given)
    params = {"lengths": lengths.tolist()}
    np.testing.assert_allclose(model.predict(given, params), expected[:, 0], atol=1e-6)
    params["lengths"], params["queries"] = lengths.numpy(), query.numpy().ravel()
    for kind in (np.int64, np.int32, np.float64):
        answers = model.predict(inputs.numpy().astype(kind), params)
        np.testing.assert_allclose(answers, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("described", "shape"),
    [
        ({"shortest": 7, "asked": [-1]}, (-1, 4)),
        ({"shortest": 7, "asked": [-2, -1]}, (-1, -1, 4)),
        ({"shortest": 7, "asked": None}, (-1, -1, 4)),
        ({}, (-1, 4)),  # from lookback 0.1
    ],
)
def test_a_saved_model_describes_its_answers_and_answers_its_example(
    project, tmp_path, described, shape
):
    _, model = saved_model(tmp_path / "saved", **described)
    signature = model.metadata.signature
    assert signature.outputs.input_types() == [np.dtype("float32")]
    assert signature.outputs.inputs[0].shape == shape
    assert [spec.name for spec in signature.params] == ["lengths", "queries"]
    example = json.loads(model.metadata.get_serving_input(str(tmp_path / "saved")))
    answers = model.predict(np.array(example["inputs"]), example["params"])
    assert answers.shape[::2] == (1, 4) if answers.ndim == 3 else answers.shape == (1, 4)
    if described.get("asked", [-1]):
        assert np.array_equal(model.predict(model.input_example), answers)


def test_a_model_of_a_task_that_an_earlier_release_prepared_answers_as_before(project, tmp_path):
    study, model = saved_model(tmp_path / "saved")
    inputs, lengths = torch.arange(10).view(2, 5) % 6, torch.full((2,), 5)
    with torch.no_grad():
        expected = study.network("gru", 0)(inputs, lengths, lengths.unsqueeze(1) - 1).softmax(-1)
    np.testing.assert_allclose(model.predict(inputs.numpy()), expected[:, 0].numpy(), atol=1e-6)


class Rows(ImageTask):
    classes, brightest, height, width = 10, 16, 8, 8

    def __init__(self, table: np.ndarray):
        super().__init__("rows")
        self.table = table

    def images(self, split):
        pixels = self.table[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
        return pixels, self.table[:, -1].astype(np.int64)


def load_digits_file() -> Path:
    return Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
