"""Each mistake in the data or the facts of a small own task, refused by stage `prepare`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nan

from lookback.commands import dispatch
from lookback.data import prepare
from lookback.data.batch import SequenceDataset
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import UserError
from lookback.storage.atomic import read_json, write_json
from tests.conftest import ROOT

from .test_mnist import tiny

OUT = Path("results/study/gait/task.json")
SIZES = {"train": 6, "validation": 4, "test": 5}
SHRUNK = {"train": 40, "validation": 10, "test": 20}
TASKS = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))


class Gait(Task):
    """Sequences of 3 to 7 steps, asked at the last step and at the step before it."""

    def __init__(self, tokens: bool, kind: str, mistake: str, split: str):
        self.tokens, self.kind, self.mistake, self.split = tokens, kind, mistake, split

    def dataset(self, split: Split) -> SequenceDataset:
        generator = torch.Generator().manual_seed(len(split))
        count = SIZES[split]
        lengths = torch.arange(count) % 5 + 3
        shape = (count, 7) if self.tokens else (count, 7, 2)
        inputs = torch.randint(4, shape, generator=generator)
        last = (lengths - 1).unsqueeze(1)
        classes = torch.randint(3, (count, 2), generator=generator)
        data = SequenceDataset(
            inputs=inputs if self.tokens else inputs.float(),
            lengths=lengths,
            query=torch.cat([last, last - 1], dim=1),
            target=classes if self.kind == "class" else classes.float().unsqueeze(2),
            lag=torch.cat([last, last - 1], dim=1),
            evidence=lambda shown: torch.zeros(len(shown), 2, 7, dtype=torch.bool),
        )
        if split == self.split and self.mistake == "no dataset":
            return None
        if split == self.split and self.mistake in DATA:
            for field, value in DATA[self.mistake](data).items():
                object.__setattr__(data, field, value)  # past the checks that only tests make
        return data

    def facts(self) -> Facts:
        is_class = self.kind == "class"
        facts = Facts(
            kind=self.kind,
            tokens=self.tokens,
            features=4 if self.tokens else 2,
            length=7,
            outputs=3 if is_class else 1,
            metric="accuracy" if is_class else "mse",
            baseline=0.3,
            baseline_name="none",
            sizes=SIZES,
        )
        if self.mistake in RETURNED:
            return RETURNED[self.mistake]
        for name, value in FACTS.get(self.mistake, {}).items():
            object.__setattr__(facts, name, value)
        return facts


def changed(tensor: Tensor, *place: Any, to: float) -> Tensor:
    copy = tensor.clone()
    copy[place] = to
    return copy


def part(data: SequenceDataset, rows: int) -> dict[str, Tensor]:
    fields = ("inputs", "lengths", "query", "target", "lag")
    return {field: getattr(data, field)[:rows] for field in fields}


# Each mistake changes some fields of one split. Sequence 4 has 7 steps, and sequence 0 has 3.
DATA: dict[str, Callable[[SequenceDataset], dict[str, Any]]] = {
    "nan": lambda data: {"inputs": changed(data.inputs, 4, 6, 1, to=nan)},
    "infinity": lambda data: {"inputs": changed(data.inputs, 0, 2, 0, to=-torch.inf)},
    "nan in padding": lambda data: {"inputs": changed(data.inputs, 0, 3, 1, to=nan)},
    "float64": lambda data: {"inputs": data.inputs.double()},
    "integers": lambda data: {"inputs": data.inputs.byte()},
    "one axis less": lambda data: {"inputs": data.inputs[..., 0]},
    "numpy": lambda data: {"inputs": data.inputs.numpy()},
    "no features": lambda data: {"inputs": data.inputs[..., :0]},
    "three features": lambda data: {"inputs": data.inputs[..., [0, 1, 1]]},
    "lengths int32": lambda data: {"lengths": data.lengths.int()},
    "lengths column": lambda data: {"lengths": data.lengths.unsqueeze(1)},
    "query float": lambda data: {"query": data.query.float()},
    "query past": lambda data: {"query": changed(data.query, 1, 1, to=4)},
    "query -2": lambda data: {"query": changed(data.query, 1, 1, to=-2)},
    "no query": lambda data: {"query": changed(data.query, 2, to=-1)},
    "padding query": lambda data: {
        "query": changed(data.query, 2, 1, to=-1),
        "lag": changed(data.lag, 2, 1, to=-1),
    },
    "target uint8": lambda data: {"target": data.target.byte()},
    "narrow numbers": lambda data: {
        name: getattr(data, name).to(kind)
        for name, kind in {"query": torch.int8, "target": torch.int16, "lag": torch.int32}.items()
    },
    "encoded": lambda data: {
        "inputs": torch.arange(7, dtype=torch.int8).expand(len(data), 7),
        "encode": lambda codes: torch.stack([codes, -codes], dim=-1).float(),
    },
    "encoded nan": lambda data: {
        "inputs": (torch.arange(len(data)) == 4).unsqueeze(1) & (torch.arange(7) == 5),
        "encode": lambda codes: (
            torch.stack([codes, codes], dim=-1).float().where(~codes.unsqueeze(-1), nan)
        ),
    },
    "encoded to three": lambda data: {"encode": lambda shown: shown[..., [0, 1, 1]]},
    "target float64": lambda data: {"target": data.target.double()},
    "target one column": lambda data: {"target": data.target[:, :1]},
    "target of two values": lambda data: {"target": data.target.repeat(1, 1, 2)},
    "other kind": lambda data: {
        "target": data.target[..., 0].long()
        if data.target.is_floating_point()
        else data.target.unsqueeze(2).float()
    },
    "target nan": lambda data: {"target": changed(data.target, 3, 1, to=nan)},
    "classes from 1": lambda data: {"target": changed(data.target, 3, 0, to=3)},
    "class -1": lambda data: {"target": changed(data.target, 3, 1, to=-1)},
    "lag past": lambda data: {"lag": changed(data.lag, 0, 0, to=3)},
    "lag column": lambda data: {"lag": data.lag[:, :1]},
    "evidence without queries": lambda data: {
        "evidence": lambda shown: torch.zeros(len(shown), 7, dtype=torch.bool)
    },
    "evidence of integers": lambda data: {
        "evidence": lambda shown: torch.zeros(len(shown), 2, 7, dtype=torch.int64)
    },
    "evidence that fails": lambda data: {"evidence": lambda shown: {}["no key"]},
    "gradient": lambda data: {"inputs": data.inputs.clone().requires_grad_()},
    "sparse": lambda data: {"inputs": data.inputs.to_sparse()},
    "evidence stored": lambda data: {"evidence": torch.zeros(len(data), 2, 7, dtype=torch.bool)},
    "token -1": lambda data: {"inputs": changed(data.inputs, 0, 6, to=-1)},
    "token 4": lambda data: {"inputs": changed(data.inputs, 0, 6, to=4)},
    "empty": lambda data: part(data, 0),
    "one less": lambda data: part(data, 3),
}
FACTS: dict[str, dict[str, Any]] = {
    "kind": {"kind": "classes"},
    "metric": {"metric": "mse"},
    "tokens": {"tokens": True},
    "features": {"features": 3},
    "longer": {"length": 8},
    "shorter": {"length": 6},
    "outputs": {"outputs": 2},
    "scale": {"mean": (0.0,), "scale": (1.0,)},
    "scale 0": {"mean": (0.0, 0.0), "scale": (1.0, 0.0)},
    "scale 0 in float32": {"mean": (0.0, 0.0), "scale": (1.0, 1e-60)},
    "scale nan": {"mean": (0.0, 0.0), "scale": (nan, 1.0)},
    "mean nan": {"mean": (0.0, nan), "scale": (1.0, 1.0)},
    "mean alone": {"mean": (0.0, 0.0)},
    "baseline text": {"baseline": "x"},
    "baseline nan": {"baseline": nan},
    "baseline tensor": {"baseline": torch.tensor(0.3)},
    "baseline without name": {"baseline_name": None},
    "baselines of text": {"other_baselines": {"any symbol": "x"}},
    "stronger baseline": {"other_baselines": {"any symbol": 0.4, "first symbol": 0.1}},
    "optimum infinite": {"optimum": torch.inf},
    "length float": {"length": 7.0},
    "outputs float": {"outputs": 3.0},
    "tokens 0": {"tokens": 0},
    "sizes tensor": {"sizes": {**SIZES, "test": torch.tensor(5)}},
    "sizes list": {"sizes": [6, 4, 5]},
}
RETURNED: dict[str, Any] = {"no facts": None, "facts as a dictionary": {"kind": "class"}}


def prepared(mistake: str, *, tokens: bool = False, kind: str = "class", split: str = "test"):
    task = {"_target_": f"{__name__}.Gait", "tokens": tokens, "kind": kind}
    write_json(
        "results/.plan/prepare/4567.yaml", {"task": {**task, "mistake": mistake, "split": split}}
    )
    prepare.main(Path("results/.plan/prepare/4567.yaml"), OUT)
    return read_json(OUT)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("nan", r"test split, sequence 4, step 6: feature 1 of the input is nan\. Fill in"),
        ("infinity", r"test split, sequence 0, step 2: feature 0 of the input is -inf\."),
        (
            "float64",
            r"`inputs` of .* test split is torch\.float64 .* Make it a tensor torch\.float32",
        ),
        ("integers", r"`inputs` .* is torch\.uint8 \(5, 7, 2\)"),
        ("one axis less", r"`inputs` .* is torch\.float32 \(5, 7\)\. .* F features"),
        ("numpy", r"`inputs` .* is a ndarray\. Make it a tensor"),
        ("no features", r"`inputs` .* is torch\.float32 \(5, 7, 0\)"),
        ("three features", r"say features: 2, but the inputs of test have 3"),
        (
            "lengths int32",
            r"`lengths` .* is torch\.int32 \(5,\)\. Make it a tensor torch\.int64 \(5\)",
        ),
        ("lengths column", r"`lengths` .* is torch\.int64 \(5, 1\)"),
        ("query float", r"`query` .* is torch\.float32 \(5, 2\)\. .* torch\.int64 \(5, Q\)"),
        (
            "query past",
            r"test split, sequence 1: query 1 is at step 4, .* has 4 steps\. Make it 0 to 3",
        ),
        ("query -2", r"test split, sequence 1: query 1 is at step -2"),
        ("no query", r"test split, sequence 2: the sequence has no query\. Ask"),
        ("encoded nan", r"sequence 4, step 5: feature 0 of the encoded input is not finite"),
        ("encoded to three", r"say features: 2, but the inputs of test have 3"),
        ("target uint8", r"`target` .* is torch\.uint8 \(5, 2\)\. .*torch\.int64 \(5, 2\)"),
        ("target one column", r"`target` .* is torch\.int64 \(5, 1\)\."),
        ("other kind", r"say kind: class, but the targets of test are real values"),
        (
            "classes from 1",
            r"sequence 3, step 5: the class is 3, .* are 0 to 2\. Number the classes",
        ),
        ("class -1", r"sequence 3, step 4: the class is -1\. Number the classes from 0"),
        ("lag past", r"sequence 0: query 0 at step 2 has the lag 3\. Make it 0 to"),
        ("lag column", r"`lag` .* is torch\.int64 \(5, 1\)"),
        (
            "evidence without queries",
            r"`evidence\(inputs\[:2\]\)` .* \(2, 7\)\. .*bool \(2, 2, 7\)",
        ),
        ("evidence of integers", r"`evidence\(inputs\[:2\]\)` .* torch\.int64 \(2, 2, 7\)"),
        ("evidence stored", r"`evidence` .* is a Tensor\. Make it a function"),
        ("empty", r"test split has no sequence\. Give it at least one"),
        ("one less", r"say sizes: .*, but the splits hold .*'test': 3"),
        ("kind", r"say kind: classes, but a task is of the kind"),
        ("metric", r"say metric: mse, but the metric of the kind `class` is `accuracy`"),
        ("tokens", r"say tokens: True, but the inputs of train are feature vectors"),
        ("features", r"say features: 3, but the inputs of train have 2 features"),
        ("longer", r"say length: 8, but the longest sequence has 7 steps, in inputs of 7 steps"),
        ("shorter", r"say length: 6, but the longest sequence has 7 steps"),
        ("outputs", r"the class is 2, but `facts\(\)` say outputs: 2, so the classes are 0 to 1"),
        ("scale 0", r"say scale: \(1\.0, 0\.0\), but it must be .* other than 0"),
        ("scale 0 in float32", r"say scale: \(1\.0, 1e-60\), but"),
        ("scale nan", r"say scale: \(nan, 1\.0\), but it must be a tuple of finite"),
        ("mean nan", r"say mean: \(0\.0, nan\), but it must be a tuple of finite"),
        ("mean alone", r"say mean: \(0\.0, 0\.0\), but scale: \(\)"),
        ("baseline text", r"say baseline: 'x', but it must be a finite number"),
        ("baseline nan", r"say baseline: nan, but"),
        ("baseline tensor", r"say baseline: tensor\(0\.3000\), but it must be .* float"),
        ("baseline without name", r"say baseline_name: None, but it must be a text"),
        (
            "baselines of text",
            r"say other_baselines: .*, but it must be .* finite numbers by names",
        ),
        ("stronger baseline", r"say baseline: 0\.3, but the baseline `any symbol` is better, 0\.4"),
        ("optimum infinite", r"say optimum: inf, but it must be a finite number .* or None"),
        ("length float", r"say length: 7\.0, but it must be a whole number of the type int"),
        ("outputs float", r"say outputs: 3\.0, but it must be a whole number"),
        ("tokens 0", r"say tokens: 0, but it must be True or False"),
        ("sizes tensor", r"say sizes: .*, but it must be a dictionary of whole numbers"),
        ("sizes list", r"say sizes: \[6, 4, 5\], but it must be a dictionary"),
        ("no facts", r"`facts\(\)` return None\. Return an object of the class Facts"),
        ("facts as a dictionary", r"`facts\(\)` return a dict\. Return"),
        ("no dataset", r"`dataset\('test'\)` returns None\. Return an object of the class Seq"),
        ("gradient", r"`inputs` of .* test split requires a gradient\. Call its `detach\(\)`"),
        ("sparse", r"`inputs` of .* has the layout torch\.sparse_coo\. Call its `to_dense"),
        ("evidence that fails", r"`evidence\(inputs\[:2\]\)` of .* test split raises \w+Error: "),
        ("scale", r"say mean: \(0\.0,\), but it has one value for each of the 2 features, or none"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_cure(in_tmp, mistake, message):
    with pytest.raises(UserError, match=message):
        prepared(mistake)
    assert not OUT.exists()


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("target float64", r"`target` .* is torch\.float64 .* torch\.float32 \(5, 2, D\)"),
        ("target of two values", r"say outputs: 1, but the targets of test have 2 values"),
        ("other kind", r"say kind: value, but the targets of test are classes"),
        ("target nan", r"test split, sequence 3: the target of query 1 is nan"),
    ],
)
def test_a_mistake_in_real_targets_is_named(in_tmp, mistake, message):
    with pytest.raises(UserError, match=message):
        prepared(mistake, kind="value")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("token -1", r"sequence 0, step 6: the token id is -1\. Make each token id 0 or more"),
        ("token 4", r"sequence 0, step 6: the token id is 4, .* so the vocabulary is 0 to 3"),
        ("integers", r"`inputs` .* is torch\.uint8 \(5, 7\)"),
    ],
)
def test_a_mistake_in_tokens_is_named_in_the_padding_too(in_tmp, mistake, message):
    with pytest.raises(UserError, match=message):
        prepared(mistake, tokens=True)


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_is_checked(in_tmp, split):
    with pytest.raises(UserError, match=f"The task's {split} split, sequence 0, step 2"):
        prepared("infinity", split=split)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("kind", ["class", "value"])
def test_a_task_without_a_mistake_passes(in_tmp, tokens, kind):
    assert prepared("none", tokens=tokens, kind=kind)["name"] == "gait"


def test_nan_behind_the_length_and_a_padding_query_pass(in_tmp):
    assert prepared("nan in padding")["asked"] == [-1, -2]
    assert prepared("padding query")["asked"] is None


@pytest.mark.parametrize("stored", ["narrow numbers", "encoded"])
def test_narrow_whole_numbers_and_encoded_inputs_pass(in_tmp, stored):
    assert set(prepared(stored)["digest"]) == {*SIZES}


def test_an_empty_validation_split_is_no_mistake_if_the_facts_say_so(in_tmp, monkeypatch):
    monkeypatch.setitem(FACTS, "empty", {"sizes": {**SIZES, "validation": 0}})
    assert prepared("empty", split="validation")["shortest"] == 3


def test_a_mistake_ends_the_command_with_one_sentence_and_status_2(in_tmp, capsys):
    with pytest.raises(UserError):
        prepared("nan")
    words = ["prepare", "plan=results/.plan/prepare/4567.yaml", f"out={OUT}"]
    assert dispatch.run(words, forked=True) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("lookback: The task's test split, sequence 4, step 6: ")
    assert "Traceback" not in printed


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_conf_passes(fetched, config, name):
    task = config(f"task={name}")
    dataset = task.get("dataset", {}).get("name")
    if dataset == "digits":
        fetched("digits")
    elif dataset == "mnist":
        tiny()
        write_json("results/data/mnist/manifest.json", {"plans": {"download": "4567"}})
        task["validation"] = 6
    else:
        task |= SHRUNK
    write_json("results/.plan/prepare/4567.yaml", {"task": task})
    prepare.main(Path("results/.plan/prepare/4567.yaml"), OUT)
    assert read_json(OUT)["name"] == "gait"
