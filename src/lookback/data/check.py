"""Checks of a task's data and facts, which stage `prepare` makes before anything is trained.

Without the checks, a mistake in the data would appear only in training, as an infinite loss or as
an error inside torch. An error message names the split and, if possible, the sequence, the query
and the step, all counted from 0.

Feature vectors behind the length of a sequence are not checked, because models and explainers set
them to zero. Token ids behind the length are checked, because the network embeds them first.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.fact_types import check_types, kind_of, said
from lookback.data.task import Facts, Split
from lookback.errors import TRACEBACK, UserError

STEPS_AT_ONCE = 2**20  # maximum number of time steps that are encoded at once, to limit memory
SHOWN = 2  # number of sequences per split whose evidence is computed, to check its shape
NARROW = (torch.int8, torch.int16, torch.int32)  # types that `SequenceDataset.batch` widens
Shapes = dict[torch.dtype, tuple[int | str, ...]]
METRICS = {"class": "accuracy", "value": "mse"}  # the metric of each kind of task


def check_data(datasets: Mapping[Split, SequenceDataset]) -> None:
    """Raise UserError if the data of a split contradict the interface `SequenceDataset`."""
    for split, data in datasets.items():
        if not isinstance(data, SequenceDataset):
            raise UserError(
                f"The task's `dataset('{split}')` returns {kind_of(data)}. Return an object of the "
                "class SequenceDataset."
            )
        _check_tensors(split, data)
        if len(data):
            _check_inputs(split, data)
            _check_queries(split, data)
            _check_targets(split, data)
            _check_evidence(split, data)
        elif split != "validation":
            raise UserError(f"The task's {split} split has no sequence. Give it at least one.")


def check_facts(facts: Any, datasets: Mapping[Split, SequenceDataset]) -> None:
    """Raise UserError if the facts of a task contradict its data.

    `check_data` must have accepted the data.
    """
    check_types(facts)
    if facts.kind not in METRICS:
        raise UserError(said("kind", facts.kind, "a task is of the kind `class` or `value`"))
    if facts.metric != METRICS[facts.kind]:
        needed = f"the metric of the kind `{facts.kind}` is `{METRICS[facts.kind]}`"
        raise UserError(said("metric", facts.metric, needed))
    sign = 1 if facts.higher_is_better else -1
    for name, score in facts.other_baselines.items():
        if sign * score > sign * facts.baseline:
            truth = f"the baseline `{name}` is better, {score}. `baseline` is the strongest of all"
            raise UserError(said("baseline", facts.baseline, truth))
    for name in ("mean", "scale"):
        if len(getattr(facts, name)) not in (0, facts.features):
            needed = f"it has one value for each of the {facts.features} features, or none"
            raise UserError(said(name, getattr(facts, name), needed))
    if len(facts.mean) != len(facts.scale):
        needed = f"scale: {facts.scale}. Both have one value for each feature, or none"
        raise UserError(said("mean", facts.mean, needed))
    sizes = {str(split): len(data) for split, data in datasets.items()}
    if dict(facts.sizes) != sizes:
        raise UserError(said("sizes", dict(facts.sizes), f"the splits hold {sizes} sequences"))
    longest = max(int(data.lengths.max()) for data in datasets.values() if len(data))
    time = max(data.inputs.shape[1] for data in datasets.values() if len(data))
    if not longest <= facts.length <= time:
        needed = f"the longest sequence has {longest} steps, in inputs of {time} steps"
        raise UserError(said("length", facts.length, needed))
    for split, data in datasets.items():
        if len(data):
            _check_facts_of_inputs(facts, split, data)
            _check_facts_of_targets(facts, split, data)


def _check_tensors(split: Split, data: SequenceDataset) -> None:
    """Check the type and the shape of each tensor."""
    count = len(data.inputs)
    _expect(split, "lengths", data.lengths, {torch.int64: (count,)})
    _expect(split, "query", data.query, _whole(count, "Q"))
    queries = data.query.shape[1]
    shapes = _whole(count, queries) | {torch.float32: (count, queries, "D")}
    _expect(split, "target", data.target, shapes)
    if data.lag is not None:
        _expect(split, "lag", data.lag, _whole(count, queries))
    vectors: Shapes = {torch.float32: ("N", "T", "F")}
    if data.encode is None:
        _expect(split, "inputs", data.inputs, vectors | _whole("N", "T"))
    else:
        shown = data.batch(slice(SHOWN)).inputs
        _expect(split, f"encode(inputs[:{SHOWN}])", shown, vectors)


def _whole(*shape: int | str) -> Shapes:
    """The shape of a tensor of whole numbers, of any of their types."""
    return dict.fromkeys((torch.int64, *NARROW), shape)


def _expect(split: Split, field: str, value: object, shapes: Shapes) -> None:
    """Raise UserError unless `value` is a tensor whose type and shape are among `shapes`.

    A letter in a shape stands for any number. The number is 1 or more, unless the split is empty.
    """
    allowed = " or ".join(
        f"{dtype} ({', '.join(map(str, shape))})"
        for dtype, shape in shapes.items()
        if dtype not in NARROW
    )
    if isinstance(value, Tensor):
        needed = shapes.get(value.dtype, ())
        is_right = len(needed) == value.dim() and all(
            (size > 0 or len(value) == 0) if isinstance(letter, str) else size == letter
            for size, letter in zip(value.shape, needed, strict=True)
        )
        if is_right:
            _check_storage(split, field, value)
            return
        given = f"{value.dtype} {tuple(value.shape)}"
    else:
        given = f"a {type(value).__name__}"
    letters = {"N": "sequences", "T": "steps", "F": "features", "Q": "queries", "D": "values"}
    names = ", ".join(f"{letter} {name}" for letter, name in letters.items() if letter in allowed)
    raise UserError(
        f"`{field}` of the task's {split} split is {given}. Make it a tensor {allowed}"
        f"{', with ' + names if names else ''}."
    )


def _check_storage(split: Split, field: str, value: Tensor) -> None:
    """Raise UserError unless a tensor can be stored and compared as plain numbers."""
    fault = ""
    if value.requires_grad:
        fault, cure = "requires a gradient", "detach()"
    elif value.device.type != "cpu":
        fault, cure = f"is on the device {value.device}", "cpu()"
    elif value.layout != torch.strided:
        fault, cure = f"has the layout {value.layout}", "to_dense()"
    if fault:
        raise UserError(f"`{field}` of the task's {split} split {fault}. Call its `{cure}`.")


def _check_inputs(split: Split, data: SequenceDataset) -> None:
    if data.encode is not None:
        _check_encoded(split, data)
    elif data.holds_tokens:
        if place := _first(data.inputs < 0):
            raise UserError(
                f"{_place(split, *place)}: the token id is {data.inputs[place]}. Make each token "
                "id 0 or more, in the padding too."
            )
    # The smallest and the largest input are NaN if any input is NaN.
    elif not all(extreme.isfinite() for extreme in data.inputs.aminmax()):
        is_inside = torch.arange(data.inputs.shape[1]) < data.lengths.unsqueeze(1)
        is_wrong = ~data.inputs.isfinite() & is_inside.unsqueeze(-1)
        if place := _first(is_wrong):
            raise UserError(
                f"{_place(split, *place[:2])}: feature {place[2]} of the input is "
                f"{data.inputs[place]}. Fill in or leave out missing values in the data; only "
                "steps behind the length of a sequence may hold them."
            )


def _check_encoded(split: Split, data: SequenceDataset) -> None:
    """Check the feature vectors of encoded inputs, a batch at a time."""
    size = max(1, STEPS_AT_ONCE // data.inputs.shape[1])
    for start in range(0, len(data), size):
        if place := _first(~data.batch(slice(start, start + size)).inputs.isfinite()):
            raise UserError(
                f"{_place(split, start + place[0], place[1])}: feature {place[2]} of the encoded "
                "input is not finite. Correct `encode` or the stored inputs."
            )


def _check_queries(split: Split, data: SequenceDataset) -> None:
    query, lengths = data.query, data.lengths.unsqueeze(1)
    if place := _first((query >= lengths) | (query < -1)):
        row, column = place
        raise UserError(
            f"{_place(split, row)}: query {column} is at step {query[place]}, but the sequence has "
            f"{lengths[row, 0]} steps. Make it 0 to {lengths[row, 0] - 1}, or -1 for no query."
        )
    if place := _first((query < 0).all(dim=1)):
        raise UserError(
            f"{_place(split, *place)}: the sequence has no query. Ask at least at one step, or "
            "leave the sequence out."
        )
    if data.lag is not None and (place := _first((data.lag < -1) | (data.lag > query))):
        row, column = place
        raise UserError(
            f"{_place(split, row)}: query {column} at step {query[place]} has the lag "
            f"{data.lag[place]}. Make it 0 to the step of the query, or -1 if it is unknown or if "
            "there is no query."
        )


def _check_targets(split: Split, data: SequenceDataset) -> None:
    if data.target.is_floating_point():
        # The targets of padding queries reach the loss, too, where they are multiplied by 0.
        if place := _first(~data.target.isfinite()):
            raise UserError(
                f"{_place(split, place[0])}: the target of query {place[1]} is "
                f"{data.target[place]}. Make each target finite; the target of a padding query may "
                "be 0."
            )
    elif place := _first((data.target < 0) & (data.query >= 0)):
        raise UserError(
            f"{_place(split, place[0], int(data.query[place]))}: the class is "
            f"{data.target[place]}. Number the classes from 0."
        )


def _check_evidence(split: Split, data: SequenceDataset) -> None:
    if data.evidence is None:
        return
    if not callable(data.evidence):
        raise UserError(
            f"`evidence` of the task's {split} split is a {type(data.evidence).__name__}. "
            "Make it a function that computes the evidence from inputs."
        )
    inputs = data.batch(slice(SHOWN)).inputs
    shape = (len(inputs), data.query.shape[1], inputs.shape[1])
    field = f"evidence(inputs[:{SHOWN}])"
    try:
        evidence: Any = data.evidence(inputs)
    except Exception as error:
        raise UserError(
            f"`{field}` of the task's {split} split raises {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Correct the function. {TRACEBACK}=1 shows where."
        ) from error
    _expect(split, field, evidence, {torch.bool: shape})


def _check_facts_of_inputs(facts: Facts, split: Split, data: SequenceDataset) -> None:
    is_float = not data.holds_tokens
    if facts.tokens == is_float:
        kind = "feature vectors" if is_float else "token ids"
        raise UserError(said("tokens", facts.tokens, f"the inputs of {split} are {kind}"))
    if is_float:
        features = data.batch(slice(1)).inputs.shape[2]
        if features != facts.features:
            truth = f"the inputs of {split} have {features} features"
            raise UserError(said("features", facts.features, truth))
    elif place := _first(data.inputs >= facts.features):
        raise UserError(
            f"{_place(split, *place)}: the token id is {data.inputs[place]}, but `facts()` say "
            f"features: {facts.features}, so the vocabulary is 0 to {facts.features - 1}. Number "
            "the tokens from 0, or correct `features`."
        )


def _check_facts_of_targets(facts: Facts, split: Split, data: SequenceDataset) -> None:
    is_float = data.target.is_floating_point()
    if is_float != (facts.kind == "value"):
        kind = "real values (float32)" if is_float else "classes (int64)"
        raise UserError(said("kind", facts.kind, f"the targets of {split} are {kind}"))
    if is_float:
        if data.target.shape[2] != facts.outputs:
            truth = f"the targets of {split} have {data.target.shape[2]} values per query"
            raise UserError(said("outputs", facts.outputs, truth))
    elif place := _first((data.target >= facts.outputs) & (data.query >= 0)):
        raise UserError(
            f"{_place(split, place[0], int(data.query[place]))}: the class is "
            f"{data.target[place]}, but `facts()` say outputs: {facts.outputs}, so the classes are "
            f"0 to {facts.outputs - 1}. Number the classes from 0, or correct `outputs`."
        )


def _place(split: Split, sequence: int, step: int | None = None) -> str:
    where = "" if step is None else f", step {step}"
    return f"The task's {split} split, sequence {sequence}{where}"


def _first(is_wrong: Bool[Tensor, "..."]) -> tuple[int, ...] | None:
    """The index of the first true element, or None if there is none."""
    return tuple(is_wrong.nonzero()[0].tolist()) if is_wrong.any() else None
