"""The models under test: each as shipped in conf/model/, shrunk, beside its slow twin."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hydra.utils import instantiate
from torch import Tensor

from lookback.data.task import Facts
from lookback.models.base import SequenceModel
from tests.shipped import model_config

from . import reference, reference_parallel

CONFIGS = Path(__file__).parents[2] / "conf" / "model"
FEATURES, HIDDEN, LAYERS, MODES = 3, 6, 2, 4


def shipped(name: str, **changes: Any) -> dict[str, Any]:
    """The config of conf/model/<name>.yaml, small. Another encoder replaces its own."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    small = {"hidden_size": HIDDEN, "layers": LAYERS, "heads": 2, "feedforward": 5}
    small |= {"modes": MODES, "kernel_size": 3}
    config |= {key: value for key, value in small.items() if key in config}
    if "encoder" in config:
        change = changes.pop("encoder", {})
        kept = {"_partial_": True} if "_target_" in change else config["encoder"]
        config["encoder"] = {**kept, "layers": LAYERS, **change}
    return config | changes


def over(target: str, **more: Any) -> dict[str, Any]:
    """What a change of `encoder` says to have another recurrent model there."""
    return model_config(target, layers=LAYERS, **more)


LSTM = partial(reference.recurrent, reference.lstm_cell)
GRU = partial(reference.recurrent, reference.gru_cell)
MINGRU = partial(reference_parallel.minimal, reference_parallel.mingru_cell)
MINLSTM = partial(reference_parallel.minimal, reference_parallel.minlstm_cell)
RING = {"modes": MODES, "r_min": 0.0, "r_max": 1.0}

CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "rnn": (
        shipped("rnn"),
        partial(reference.recurrent, partial(reference.rnn_cell, relu=False)),
    ),
    "rnn_relu": (
        shipped("rnn", nonlinearity="relu"),
        partial(reference.recurrent, partial(reference.rnn_cell, relu=True)),
    ),
    "lstm": (shipped("lstm"), LSTM),
    "lstm_single_bias": (shipped("lstm", bias="single"), LSTM),
    "gru": (shipped("gru"), GRU),
    "gru_single_bias": (shipped("gru", bias="single"), GRU),
    "gru_before": (
        shipped("gru", reset="before"),
        partial(reference.recurrent, reference.gru_before_cell),
    ),
    "rnn_normed": (
        shipped("rnn", layer_norm=True),
        partial(reference.recurrent, reference.normed_rnn_cell),
    ),
    "lstm_normed": (
        shipped("lstm", layer_norm=True),
        partial(reference.recurrent, reference.normed_lstm_cell, read=reference.read_normed),
    ),
    "gru_normed": (
        shipped("gru", layer_norm=True),
        partial(reference.recurrent, reference.normed_gru_cell),
    ),
    "gru_before_normed": (
        shipped("gru", layer_norm=True, reset="before", bias="single"),
        partial(reference.recurrent, reference.normed_gru_before_cell),
    ),
    "mingru": (shipped("mingru"), MINGRU),
    "mingru_bidirectional": (shipped("mingru", bidirectional=True), MINGRU),
    "minlstm": (shipped("minlstm"), MINLSTM),
    "minlstm_bidirectional": (shipped("minlstm", bidirectional=True), MINLSTM),
    "lru": (shipped("lru"), reference_parallel.lru),
    "lru_bidirectional": (shipped("lru", bidirectional=True), reference_parallel.lru),
    "tcn": (shipped("tcn"), reference_parallel.tcn),
    "attention": (shipped("attention"), partial(reference.attention, LSTM, "additive", 1)),
    "attention_gru": (
        shipped("attention", encoder=over("gru.GRU")),
        partial(reference.attention, GRU, "additive", 1),
    ),
    "attention_scaled_dot": (
        shipped(
            "attention",
            attention="scaled_dot",
            encoder=over("mingru.MinGRU", bidirectional=True),
        ),
        partial(reference.attention, MINGRU, "scaled_dot", 1),
    ),
    "attention_multi_head": (
        shipped("attention", attention="multi_head", encoder=over("lru.LRU", **RING)),
        partial(reference.attention, reference_parallel.lru, "multi_head", 2),
    ),
    "transformer": (
        shipped("transformer"),
        partial(reference.transformer, {"heads": 2, "causal": False}),
    ),
    "transformer_causal": (
        shipped("transformer", causal=True),
        partial(reference.transformer, {"heads": 2, "causal": True}),
    ),
    "transformer_rotary": (
        shipped("transformer", positions="rotary", heads=3),
        partial(reference.transformer, {"heads": 3, "causal": False, "rotary": True}),
    ),
    "lstm_transformer": (
        shipped("lstm_transformer"),
        partial(reference.lstm_transformer, LSTM, {"heads": 2, "causal": False}),
    ),
    "lstm_transformer_causal": (
        shipped(
            "lstm_transformer",
            causal=True,
            encoder=over("minlstm.MinLSTM"),
        ),
        partial(reference.lstm_transformer, MINLSTM, {"heads": 2, "causal": True}),
    ),
}
RECURRENT = (
    "rnn",
    "rnn_relu",
    "lstm",
    "lstm_single_bias",
    "gru",
    "gru_single_bias",
    "gru_before",
    "rnn_normed",
    "lstm_normed",
    "gru_normed",
    "gru_before_normed",
)
# Which see what comes after a query.
LOOKING_AHEAD = {
    "mingru_bidirectional",
    "minlstm_bidirectional",
    "lru_bidirectional",
    "attention_scaled_dot",
    "transformer",
    "transformer_rotary",
    "lstm_transformer",
}


def build(name: str, seed: int = 0, **changes: Any) -> SequenceModel:
    """The model in eval mode, every weight, bias and scale drawn at random."""
    settings = {**CASES[name][0], **changes}
    settings.pop("embedding_size")
    model: SequenceModel = instantiate(settings, features=FEATURES)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7, generator=generator)
    return model.eval()


def questions(
    batch: int = 3, time: int = 7, seed: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, T, F), lengths from 1 to T, and two queries: the last step, and -1 or another."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch, time, FEATURES, generator=generator, dtype=dtype)
    lengths = torch.linspace(1, time, batch).long() if batch > 1 else torch.tensor([time])
    other = [-1 if row % 2 == 0 else int(length) // 2 for row, length in enumerate(lengths)]
    return inputs, lengths, torch.stack([lengths - 1, torch.tensor(other)], dim=1)


def twins(name: str, model: SequenceModel, inputs: Tensor, lengths: Tensor, query: Tensor, **more):
    """The slow twin's answer for each sequence, cut at its length, at its own queries."""
    weights = {key: value.double().numpy() for key, value in model.state_dict().items()}
    for row, length in enumerate(lengths.tolist()):
        asked = [step for step in query[row].tolist() if step >= 0]
        sequence = inputs[row, :length].double().numpy()
        yield CASES[name][1](weights, LAYERS, np.asarray(sequence), asked, **more)


def facts(*, tokens: bool = False) -> Facts:
    """A task of four classes, with vectors of FEATURES or a vocabulary of 11 tokens."""
    return Facts(
        kind="class",
        tokens=tokens,
        features=11 if tokens else FEATURES,
        length=7,
        outputs=4,
        metric="accuracy",
        baseline=0.25,
        baseline_name="most frequent class",
        sizes={"train": 1, "validation": 1, "test": 1},
    )
