"""Slow twins: each model's equations, written again one number at a time in float64 numpy.

They know no torch but for the weights that they are given, by the names of the models' files:
`weights["kernel.weight_ih_l0"]` and so on. Sequences come one at a time, cut at their length.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]
Push = Callable[[str, int], Array | float]  # what to add to a state, by its name and step


def no_push(name: str, step: int) -> float:
    return 0.0


@dataclass
class Opened:
    """What a twin found of one sequence: (T, H) by name, attention (Q, T), features (Q, H)."""

    features: Array = field(default_factory=lambda: np.empty(0))
    attention: Array | None = None
    states: dict[str, Array] = field(default_factory=dict)
    gates: dict[str, Array] = field(default_factory=dict)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(scores: list[float]) -> list[float]:
    powers = [np.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def affine(weights: Weights, block: int, kind: str, layer: int, vector: Array) -> Array:
    """W x + b of one gate, whose block is the `block`-th in torch's matrix; kind «ih» or «hh»."""
    matrix, bias = weights[f"weight_{kind}_l{layer}"], weights[f"bias_{kind}_l{layer}"]
    size = weights[f"weight_hh_l{layer}"].shape[1]
    rows = range(block * size, (block + 1) * size)
    return np.array([np.dot(matrix[row], vector) + bias[row] for row in rows])


def rnn_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array, relu: bool):
    """Elman 1990."""
    a = affine(weights, 0, "ih", layer, x) + affine(weights, 0, "hh", layer, h)
    return np.where(a > 0, a, 0.0) if relu else np.tanh(a), c, {}


def lstm_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """Hochreiter and Schmidhuber 1997 with Gers et al. 2000; torch's blocks are i, f, g, o."""
    a = [affine(weights, k, "ih", layer, x) + affine(weights, k, "hh", layer, h) for k in range(4)]
    i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
    c = f * c + i * g
    return o * np.tanh(c), c, {"input": i, "forget": f, "candidate": g, "output": o}


def gru_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """Cho et al. 2014, reset after the product; torch's blocks are r, z, n."""
    r, z = (
        sigmoid(affine(weights, k, "ih", layer, x) + affine(weights, k, "hh", layer, h))
        for k in range(2)
    )
    n = np.tanh(affine(weights, 2, "ih", layer, x) + r * affine(weights, 2, "hh", layer, h))
    return (1 - z) * n + z * h, c, {"reset": r, "update": z, "candidate": n}


def gru_before_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """Cho et al. 2014 as printed: the reset state goes through the product."""
    r, z = (
        sigmoid(affine(weights, k, "ih", layer, x) + affine(weights, k, "hh", layer, h))
        for k in range(2)
    )
    n = np.tanh(affine(weights, 2, "ih", layer, x) + affine(weights, 2, "hh", layer, r * h))
    return (1 - z) * n + z * h, c, {"reset": r, "update": z, "candidate": n}


def recurrent(
    cell, weights: Weights, layers: int, inputs: Array, queries: list[int], push: Push = no_push
) -> Opened:
    """Step by step, and at each step layer by layer: the other order than the model's trace."""
    kernel = {name.removeprefix("kernel."): value for name, value in weights.items()}
    size = kernel["weight_hh_l0"].shape[1]
    h = [np.zeros(size) for _ in range(layers)]
    c = [np.zeros(size) for _ in range(layers)]
    opened = Opened()
    found: dict[str, list[Array]] = {}
    for t, x in enumerate(inputs):
        for layer in range(layers):
            h[layer], c[layer], gates = cell(kernel, layer, x, h[layer], c[layer])
            if "output" in gates:
                c[layer] = c[layer] + push(f"cell/{layer}", t)
                h[layer] = gates["output"] * np.tanh(c[layer])
            h[layer] = h[layer] + push(f"hidden/{layer}", t)
            found.setdefault(f"hidden/{layer}", []).append(h[layer])
            if "output" in gates:
                found.setdefault(f"cell/{layer}", []).append(c[layer])
            for name, gate in gates.items():
                found.setdefault(f"{name}/{layer}", []).append(gate)
            x = h[layer]
    for name, steps in found.items():
        kind = opened.states if name.split("/")[0] in ("hidden", "cell") else opened.gates
        kind[name] = np.array(steps)
    opened.features = np.array([opened.states[f"hidden/{layers - 1}"][q] for q in queries])
    return opened


def attention(
    cell, weights: Weights, layers: int, inputs: Array, queries: list[int], push: Push = no_push
) -> Opened:
    """Bahdanau et al. 2015 over the encoder's states up to the query, then Luong et al. 2015."""
    encoder = {
        name.removeprefix("encoder."): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    opened = recurrent(cell, encoder, layers, inputs, queries, push)
    h = opened.states[f"hidden/{layers - 1}"]
    rows, features = [], []
    for q in queries:
        asked = weights["from_query.weight"] @ h[q] + weights["from_query.bias"]
        scores = [
            float(weights["score.weight"][0] @ np.tanh(asked + weights["from_key.weight"] @ h[s]))
            for s in range(q + 1)
        ]
        alpha = softmax(scores) + [0.0] * (len(inputs) - q - 1)
        context = sum(alpha[s] * h[s] for s in range(len(inputs)))
        both = np.concatenate([context, h[q]])
        features.append(np.tanh(weights["combine.weight"] @ both + weights["combine.bias"]))
        rows.append(alpha)
    opened.features, opened.attention = np.array(features), np.array(rows)
    return opened


def layer_norm(weights: Weights, name: str, vector: Array) -> Array:
    centred = vector - vector.mean()
    return (
        weights[f"{name}.weight"] * centred / np.sqrt((centred**2).mean() + 1e-5)
        + weights[f"{name}.bias"]
    )


def dense(weights: Weights, name: str, vector: Array) -> Array:
    return weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]


def position(step: int, size: int) -> Array:
    """Vaswani et al. 2017, 3.5."""
    row = np.empty(size)
    for k in range(size):
        angle = step / 10000 ** ((k - k % 2) / size)
        row[k] = np.cos(angle) if k % 2 else np.sin(angle)
    return row


def transformer(
    heads: int,
    causal: bool,
    weights: Weights,
    layers: int,
    inputs: Array,
    queries: list[int],
    push: Push = no_push,
) -> Opened:
    """Vaswani et al. 2017, normalised first as in Xiong et al. 2020, figure 1 (b)."""
    size = len(weights["enter.bias"])
    d = size // heads
    z = [dense(weights, "enter", x) + position(t, size) for t, x in enumerate(inputs)]
    opened = Opened()
    for layer in range(layers):
        mine = f"stack.{layer}"
        normed = [layer_norm(weights, f"{mine}.norm_attention", row) for row in z]
        asking = [dense(weights, f"{mine}.query", row) for row in normed]
        keys = [dense(weights, f"{mine}.key", row) for row in normed]
        values = [dense(weights, f"{mine}.value", row) for row in normed]
        looks = np.zeros((len(z), len(z)))
        following = []
        for t in range(len(z)):
            last = t if causal else len(z) - 1
            joined = np.zeros(size)
            for head in range(heads):
                part = slice(head * d, (head + 1) * d)
                scores = [
                    float(asking[t][part] @ keys[s][part]) / np.sqrt(d) for s in range(last + 1)
                ]
                for s, weight in enumerate(softmax(scores)):
                    joined[part] += weight * values[s][part]
                    looks[t, s] += weight / heads
            y = z[t] + dense(weights, f"{mine}.join", joined)
            wide = dense(
                weights, f"{mine}.widen", layer_norm(weights, f"{mine}.norm_feedforward", y)
            )
            y = y + dense(weights, f"{mine}.narrow", np.where(wide > 0, wide, 0.0))
            following.append(y + push(f"hidden/{layer}", t))
        z = following
        opened.states[f"hidden/{layer}"] = np.array(z)
    opened.attention = np.array([looks[q] for q in queries])
    opened.features = np.array([layer_norm(weights, "norm", z[q]) for q in queries])
    return opened
