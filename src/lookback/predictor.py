"""Load a trained network as an MLflow model, which predicts from arrays of raw inputs.

MLflow calls the function `_load_pyfunc` with the path of a folder. The folder contains the weights
of one trained network in weights.ckpt, the settings of the model in config.yaml, and the
description of the task in task.json. MLflow can load the model only where the package lookback is
installed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from lookback.data.scaling import Scaling
from lookback.data.task import Facts
from lookback.errors import nearest
from lookback.models.network import Network, build_network
from lookback.storage.atomic import read_json

LARGEST = 2**63 - 1  # the largest integer of a tensor
# The settings that models got after lookback 0.1, with the values that change nothing.
LATER = {
    f"lookback.models.{name}": {"bias": "double", "layer_norm": False, "recurrent_dropout": 0.0}
    for name in ("rnn.RNN", "lstm.LSTM", "gru.GRU")
}
PARAMS = ("lengths", "queries")  # the settings that `params` may hold


class Predictor:
    """A trained network that accepts raw inputs and answers the queries of the task.

    `shortest` is the number of steps of the task's shortest sequence. `asked` holds the offsets of
    the queries from the end of a sequence (−1 is the last step), or None if the task asks its
    sequences at different offsets.
    """

    def __init__(
        self, network: Network, facts: Facts, shortest: int, asked: Sequence[int] | None
    ) -> None:
        self.network = network
        self.facts = facts
        self.shortest = shortest
        self.asked = asked

    def predict(
        self, inputs: Any, params: Mapping[str, Any] | None = None
    ) -> Float[np.ndarray, "batch output"] | Float[np.ndarray, "batch query output"]:
        """The predicted class probabilities (classification) or the predicted values (regression).

        `inputs` is an array or a list of numbers of any type: features (B, T, F), or token ids
        (B, T). Features are raw values as in the dataset, such as pixels from 0 to 255 and not from
        0 to 1. The function scales the features as in training. Values after the length of a
        sequence have no effect and may be NaN.

        `params` may hold two settings, and an empty list counts as missing:
            lengths: number of steps of each sequence (B,). Without `lengths`, each sequence has T
                steps.
            queries: steps at which the model answers, counted from 0, as a list of B · Q steps that
                holds the queries of one sequence after the other. An array (B, Q) is accepted, too,
                but MLflow does not pass it on. Without `queries`, the model answers at the steps at
                which the task asks.

        The result has the shape (B, outputs) if each sequence has one query, else (B, Q, outputs).

        Raises ValueError if the inputs or the params do not fit the task, or if `params` holds
        another setting. Raises ValueError if
        `lengths` is missing in a batch of several sequences although the task's sequences have
        different lengths, or if `queries` is missing although the task asks at different offsets.
        """
        given = params or {}
        for name in given:
            if name not in PARAMS:
                near = nearest(str(name), PARAMS)
                raise ValueError(
                    f"There is no setting '{name}' in `params`. "
                    + (f"Did you mean '{near}'? " if near else "")
                    + "`params` may hold `lengths` and `queries`."
                )
        values = self._numbers(inputs)
        lengths = self._lengths(_steps("lengths", given), *values.shape[:2])
        query = self._query(_steps("queries", given), lengths)
        is_inside = np.arange(values.shape[1]) < lengths[:, None]
        read = self._tokens if self.facts.tokens else self._features
        sequences = read(values, is_inside)
        with torch.no_grad():
            answers = self.network(sequences, torch.from_numpy(lengths), torch.from_numpy(query))
        outputs = answers.softmax(-1) if self.facts.kind == "class" else answers
        predictions: np.ndarray = outputs.numpy()
        return predictions[:, 0] if query.shape[1] == 1 else predictions

    def _numbers(self, inputs: Any) -> Num[np.ndarray, "batch time *feature"]:
        """The inputs as an array, with None as NaN, after a check of the sizes of its axes."""
        axes = "sequence, step" if self.facts.tokens else "sequence, step, feature"
        try:
            values = np.asarray(inputs)
            if values.dtype == object:
                values = values.astype(np.float64)
        except OverflowError as error:
            raise ValueError(
                "The inputs hold an integer that is too large for float64. Each input must be a "
                "finite float32 number or a token id."
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The inputs are not an array of numbers with the axes ({axes}): {error}. Pad "
                "sequences of different lengths at the end, and give the number of steps of each "
                "sequence as params={'lengths': [...]}."
            ) from error
        if values.dtype.kind not in "biuf":
            raise ValueError(f"The inputs have the type {values.dtype}. Give numbers.")
        if values.ndim != axes.count(",") + 1:
            raise ValueError(
                f"The inputs have the shape {values.shape}, but the model needs the axes ({axes}). "
                "Give a single sequence as inputs[None]."
            )
        if not self.facts.tokens and values.shape[2] != self.facts.features:
            raise ValueError(
                f"The inputs have {values.shape[2]} features per step, but the model was trained "
                f"on {self.facts.features}. Give {self.facts.features} features."
            )
        if 0 in values.shape[:2]:
            missing = "sequence" if len(values) == 0 else "step"
            raise ValueError(
                f"The inputs have the shape {values.shape}, without any {missing}. "
                f"Give at least one {missing}."
            )
        return values

    def _lengths(
        self, given: Int[np.ndarray, "..."] | None, count: int, time: int
    ) -> Int[np.ndarray, " batch"]:
        """The number of steps of each sequence."""
        if given is None:
            if count > 1 and self.shortest < self.facts.length:
                raise ValueError(
                    f"The task's sequences have {self.shortest} to {self.facts.length} steps, so "
                    f"the model must know how many of the {time} steps belong to each of the "
                    f"{count} sequences. Give params={{'lengths': [...]}} with one number per "
                    "sequence, or ask one sequence at a time, without padding."
                )
            return np.full(count, time)
        if given.shape != (count,):
            raise ValueError(
                f"`lengths` has the shape {given.shape}, but the inputs hold {count} sequences. "
                "Give one number of steps per sequence."
            )
        for row in np.flatnonzero((given < 1) | (given > time))[:1]:
            raise ValueError(
                f"Sequence {row} has the length {given[row]}, but the inputs have {time} steps. "
                f"Make each of `lengths` 1 to {time}."
            )
        return given

    def _query(
        self, given: Int[np.ndarray, "..."] | None, lengths: Int[np.ndarray, " batch"]
    ) -> Int[np.ndarray, "batch query"]:
        """The steps at which the model answers."""
        count = len(lengths)
        if given is None:
            if self.asked is None:
                raise ValueError(
                    "The task asks its sequences at different steps, so the model must know at "
                    "which steps to answer. Give params={'queries': [...]} with the steps of one "
                    "sequence after the other, counted from 0."
                )
            query: Int[np.ndarray, "batch query"] = lengths[:, None] + np.array(self.asked)
        elif len(given) == count and given.ndim == 2:
            query = given
        elif given.ndim == 1 and len(given) % count == 0:
            query = given.reshape(count, -1)
        else:
            raise ValueError(
                f"`queries` has the shape {given.shape}, but the inputs hold {count} sequences. "
                "Give the same number of queries for each sequence."
            )
        for row, column in np.argwhere((query < 0) | (query >= lengths[:, None]))[:1]:
            raise ValueError(
                f"Sequence {row} has {lengths[row]} steps, so it cannot be asked at step "
                f"{query[row, column]}. Give `queries` from 0 to the length − 1 of each sequence."
            )
        return query

    def _features(
        self,
        values: Num[np.ndarray, "batch time feature"],
        is_inside: Bool[np.ndarray, "batch time"],
    ) -> Float[Tensor, "batch time feature"]:
        """The scaled features, with the raw value 0 after the length of each sequence."""
        # Values that are too large for float32 become infinite, and the next check refuses them.
        with np.errstate(over="ignore"):
            single = np.where(is_inside[..., None], values, 0).astype(np.float32)
        _refuse(~np.isfinite(single), values, "a finite float32 number")
        raw = torch.from_numpy(single)
        scaling = Scaling(self.facts.mean, self.facts.scale)
        return scaling.apply(raw) if self.facts.scale else raw

    def _tokens(
        self, values: Num[np.ndarray, "batch time"], is_inside: Bool[np.ndarray, "batch time"]
    ) -> Int[Tensor, "batch time"]:
        """The token ids, with 0 after the length of each sequence."""
        inside = np.where(is_inside, values, 0)
        is_token = (inside >= 0) & (inside < self.facts.features) & (inside == np.floor(inside))
        _refuse(
            ~is_token, values, f"a token id, a whole number from 0 to {self.facts.features - 1}"
        )
        return torch.from_numpy(inside.astype(np.int64))


def _steps(name: str, params: Mapping[str, Any]) -> Int[np.ndarray, "..."] | None:
    """The whole numbers of a parameter, or None if the parameter is missing or empty."""
    if params.get(name) is None:
        return None
    try:
        given = np.atleast_1d(params[name])
    except ValueError as error:  # from numpy, for rows of different lengths
        raise ValueError(f"`{name}` is not an array of whole numbers: {error}") from error
    if given.size == 0:
        return None
    if given.dtype == object or (given.dtype.kind == "u" and (given > LARGEST).any()):
        raise ValueError(
            f"`{name}` holds a value that is no integer of 64 bits. Give such numbers."
        )
    if given.dtype.kind not in "iu":
        raise ValueError(f"`{name}` has the type {given.dtype}. Give whole numbers.")
    return given.astype(np.int64)


def _refuse(
    is_wrong: Bool[np.ndarray, "batch time *feature"],
    values: Num[np.ndarray, "batch time *feature"],
    needed: str,
) -> None:
    """Raise ValueError for the first value in `is_wrong`. `needed` says what a value must be."""
    for place in np.argwhere(is_wrong)[:1]:
        row, step = place[:2]
        raise ValueError(
            f"Sequence {row} has the input {values[tuple(place)]} at step {step}. Each input "
            f"within the length of a sequence must be {needed}."
        )


def with_all_settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model, completed as an older lookback meant them, which knew fewer.

    The network that the completed settings make has the weights of the older one.
    """
    settings = {**LATER.get(model.get("_target_", ""), {}), **model}
    if "encoder" in settings:
        settings["encoder"] = {"bidirectional": False, **with_all_settings(settings["encoder"])}
    return settings


def _load_pyfunc(path: str) -> Predictor:
    folder = Path(path)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    description = read_json(folder / "task.json")
    facts = Facts.from_dict(description)
    model = with_all_settings(config["model"])
    network = build_network(model, config["recipe"]["initialisation"], facts, seed=0)
    network.load_state_dict(torch.load(folder / "weights.ckpt", weights_only=True))
    # task.json of lookback 0.1 lacks both entries. Such a model answers at the last step.
    shortest, asked = description.get("shortest", facts.length), description.get("asked", [-1])
    return Predictor(network.eval(), facts, shortest, asked)
