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
    """What a twin found of one sequence.

    States and gates (T, H) by name, attention (Q, T), heads (heads, Q, T), features (Q, H).
    """

    features: Array = field(default_factory=lambda: np.empty(0))
    attention: Array | None = None
    heads: Array | None = None
    states: dict[str, Array] = field(default_factory=dict)
    gates: dict[str, Array] = field(default_factory=dict)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(scores: list[float]) -> list[float]:
    powers = [np.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def affine(weights: Weights, block: int, kind: str, layer: int, vector: Array) -> Array:
    """W x + b of one gate, whose block is the `block`-th in torch's matrix; kind «ih» or «hh»."""
    matrix = weights[f"weight_{kind}_l{layer}"]
    bias = weights.get(f"bias_{kind}_l{layer}", np.zeros(len(matrix)))  # none: `bias: single`
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


def normed(vector: Array, gain: Array) -> Array:
    """Ba, Kiros and Hinton 2016, without a bias."""
    centred = vector - vector.mean()
    return gain * centred / np.sqrt((centred**2).mean() + 1e-5)


def normed_product(weights: Weights, kind: str, layer: int, vector: Array, blocks) -> Array:
    """LN(W x) + b, with the gates of each entry of `blocks` normalised together."""
    size = weights[f"weight_hh_l{layer}"].shape[1]
    product = weights[f"weight_{kind}_l{layer}"] @ vector
    gain = weights[f"norms.{layer}.{'input' if kind == 'ih' else 'state'}.gain"]
    parts = [slice(first * size, last * size) for first, last in blocks]
    joined = np.concatenate([normed(product[part], gain[part]) for part in parts])
    return joined + weights.get(f"bias_{kind}_l{layer}", 0.0)


def normed_rnn_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """The sum of both products is normalised, as in equation 4."""
    a = weights[f"weight_ih_l{layer}"] @ x + weights[f"weight_hh_l{layer}"] @ h
    a = normed(a, weights[f"norms.{layer}.sum.gain"])
    return np.tanh(a + weights[f"bias_ih_l{layer}"] + weights[f"bias_hh_l{layer}"]), c, {}


def read_normed(weights: Weights, layer: int, c: Array) -> Array:
    """The cell as the hidden state of `normed_lstm_cell` reads it."""
    norm = f"norms.{layer}.cell"
    return normed(c, weights[f"{norm}.weight"]) + weights[f"{norm}.bias"]


def normed_lstm_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """Equations 20 to 22: all four gates are normalised together, and the cell that is read."""
    a = normed_product(weights, "ih", layer, x, [(0, 4)])
    a = a + normed_product(weights, "hh", layer, h, [(0, 4)])
    i, f, g, o = np.split(a, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(read_normed(weights, layer, c))
    return h, c, {"input": i, "forget": f, "candidate": g, "output": o}


def normed_gru_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    """The gates are normalised together, and the candidate by itself."""
    x_r, x_z, x_n = np.split(normed_product(weights, "ih", layer, x, [(0, 2), (2, 3)]), 3)
    h_r, h_z, h_n = np.split(normed_product(weights, "hh", layer, h, [(0, 2), (2, 3)]), 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h, c, {"reset": r, "update": z, "candidate": n}


def normed_gru_before_cell(weights: Weights, layer: int, x: Array, h: Array, c: Array):
    x_r, x_z, x_n = np.split(normed_product(weights, "ih", layer, x, [(0, 2), (2, 3)]), 3)
    h_r, h_z, _ = np.split(normed_product(weights, "hh", layer, h, [(0, 2), (2, 3)]), 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    h_n = np.split(normed_product(weights, "hh", layer, r * h, [(0, 2), (2, 3)]), 3)[2]
    n = np.tanh(x_n + h_n)
    return (1 - z) * n + z * h, c, {"reset": r, "update": z, "candidate": n}


def recurrent(
    cell,
    weights: Weights,
    layers: int,
    inputs: Array,
    queries: list[int],
    push: Push = no_push,
    read=lambda weights, layer, c: c,
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
                h[layer] = gates["output"] * np.tanh(read(kernel, layer, c[layer]))
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


def below(weights: Weights, name: str) -> Weights:
    """The weights of one part of a model, by the names that they have there."""
    return {
        key.removeprefix(f"{name}."): value
        for key, value in weights.items()
        if key.startswith(f"{name}.")
    }


def attention(
    encoder,
    kind: str,
    heads: int,
    weights: Weights,
    layers: int,
    inputs: Array,
    queries: list[int],
    push: Push = no_push,
) -> Opened:
    """Bahdanau et al. 2015, or Vaswani et al. 2017, up to the query; then Luong et al. 2015."""
    every = list(range(len(inputs)))
    opened = encoder(below(weights, "encoder"), layers, inputs, every, push)
    h = opened.features
    features, looks = [], np.zeros((heads, len(queries), len(inputs)))
    for row, q in enumerate(queries):
        asked = dense(weights, "from_query", h[q])
        keys = [weights["from_key.weight"] @ h[s] for s in range(q + 1)]
        d = len(asked) // heads
        context = np.zeros(len(asked) if kind == "multi_head" else h.shape[1])
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            if kind == "additive":
                scores = [float(weights["score.weight"][0] @ np.tanh(asked + k)) for k in keys]
            else:
                scores = [float(asked[part] @ k[part]) / np.sqrt(d) for k in keys]
            for s, weight in enumerate(softmax(scores)):
                looks[head, row, s] = weight
                if kind == "multi_head":
                    context[part] += weight * (weights["from_value.weight"] @ h[s])[part]
                else:
                    context += weight * h[s]
        if kind == "multi_head":
            context = dense(weights, "join", context)
        both = np.concatenate([context, h[q]])
        features.append(np.tanh(dense(weights, "combine", both)))
    opened.features, opened.attention = np.array(features), looks.mean(axis=0)
    opened.heads = looks if kind == "multi_head" else None
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


def turned(vector: Array, step: int) -> Array:
    """Su et al. 2021, eq. 34: each pair of numbers by its angle."""
    row = np.empty(len(vector))
    for k in range(0, len(vector), 2):
        angle = step / 10000 ** (k / len(vector))
        row[k] = vector[k] * np.cos(angle) - vector[k + 1] * np.sin(angle)
        row[k + 1] = vector[k + 1] * np.cos(angle) + vector[k] * np.sin(angle)
    return row


def stack(
    opened: Opened,
    z: list[Array],
    weights: Weights,
    layers: int,
    queries: list[int],
    push: Push,
    *,
    heads: int,
    causal: bool,
    rotary: bool = False,
    states: str = "hidden",
) -> Opened:
    """Vaswani et al. 2017, normalised first as in Xiong et al. 2020, figure 1 (b)."""
    size = len(z[0])
    d = size // heads
    turn = turned if rotary else lambda vector, step: vector
    for layer in range(layers):
        mine = below(weights, f"layers.{layer}")
        normed = [layer_norm(mine, "norm_attention", row) for row in z]
        asking = [dense(mine, "query", row) for row in normed]
        keys = [dense(mine, "key", row) for row in normed]
        values = [dense(mine, "value", row) for row in normed]
        looks = np.zeros((heads, len(z), len(z)))
        following = []
        for t in range(len(z)):
            last = t if causal else len(z) - 1
            joined = np.zeros(size)
            for head in range(heads):
                part = slice(head * d, (head + 1) * d)
                asked = turn(asking[t][part], t)
                scores = [
                    float(asked @ turn(keys[s][part], s)) / np.sqrt(d) for s in range(last + 1)
                ]
                for s, weight in enumerate(softmax(scores)):
                    joined[part] += weight * values[s][part]
                    looks[head, t, s] = weight
            y = z[t] + dense(mine, "join", joined)
            wide = dense(mine, "widen", layer_norm(mine, "norm_feedforward", y))
            y = y + dense(mine, "narrow", np.where(wide > 0, wide, 0.0))
            following.append(y + push(f"{states}/{layer}", t))
        z = following
        opened.states[f"{states}/{layer}"] = np.array(z)
    opened.heads = looks[:, queries]
    opened.attention = opened.heads.mean(axis=0)
    opened.features = np.array([layer_norm(weights, "norm", z[q]) for q in queries])
    return opened


def transformer(
    settings: dict[str, object],
    weights: Weights,
    layers: int,
    inputs: Array,
    queries: list[int],
    push: Push = no_push,
) -> Opened:
    """Vaswani et al. 2017; `settings` are those of `stack`."""
    entered = [dense(weights, "enter", x) for x in inputs]
    if not settings.get("rotary"):
        entered = [row + position(t, len(row)) for t, row in enumerate(entered)]
    return stack(Opened(), entered, below(weights, "stack"), layers, queries, push, **settings)


def lstm_transformer(
    encoder,
    settings: dict[str, object],
    weights: Weights,
    layers: int,
    inputs: Array,
    queries: list[int],
    push: Push = no_push,
) -> Opened:
    """The stack over the encoder's outputs, with no positions."""
    opened = encoder(below(weights, "encoder"), layers, inputs, list(range(len(inputs))), push)
    entered = [dense(weights, "enter", h) for h in opened.features]
    stacked = below(weights, "stack")
    return stack(opened, entered, stacked, layers, queries, push, **settings, states="attended")
