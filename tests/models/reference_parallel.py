"""Slow twins of the models whose steps can run at once: here they run one after another."""

from math import erf

import numpy as np

from .reference import (
    Array,
    Opened,
    Push,
    Weights,
    below,
    dense,
    layer_norm,
    no_push,
    sigmoid,
)


def positive(vector: Array) -> Array:
    """The g of Feng et al. 2024, appendix B."""
    return np.array([x + 0.5 if x >= 0 else float(sigmoid(x)) for x in vector])


def mingru_cell(read: Array, h: Array):
    """Feng et al. 2024, section 3.1."""
    k, candidate = np.split(read, 2)
    z, new = sigmoid(k), positive(candidate)
    return (1 - z) * h + z * new, {"update": z, "candidate": new}


def minlstm_cell(read: Array, h: Array):
    """Feng et al. 2024, section 3.2, with the gates' sum shared out."""
    a, b, candidate = np.split(read, 3)
    f, i, new = sigmoid(a), sigmoid(b), positive(candidate)
    kept, taken = f / (f + i), i / (f + i)
    return kept * h + taken * new, {"forget": kept, "input": taken, "candidate": new}


def minimal(
    cell, weights: Weights, layers: int, inputs: Array, queries: list[int], push: Push = no_push
) -> Opened:
    """Layer by layer; where there are weights for it, also from the last step to the first."""
    opened, z = Opened(), list(inputs)
    for layer in range(layers):
        sides = []
        for end in ("", "_reverse"):
            name = f"from_input{end}.{layer}"
            if f"{name}.weight" not in weights:
                continue
            steps = range(len(z))[:: -1 if end else 1]
            h = np.zeros(len(weights[f"{name}.bias"]) // (2 if cell is mingru_cell else 3))
            found: dict[str, list[Array]] = {}
            for t in steps:
                h, gates = cell(dense(weights, name, z[t]), h)
                h = h + push(f"hidden{end}/{layer}", t)
                for key, value in {"hidden": h, **gates}.items():
                    found.setdefault(f"{key}{end}/{layer}", []).append(value)
            ordered = {key: np.array(rows[:: -1 if end else 1]) for key, rows in found.items()}
            sides.append(ordered.pop(f"hidden{end}/{layer}"))
            opened.states[f"hidden{end}/{layer}"] = sides[-1]
            opened.gates |= ordered
        z = list(np.concatenate(sides, axis=1))
    opened.features = np.array([z[q] for q in queries])
    return opened


def lru(
    weights: Weights, layers: int, inputs: Array, queries: list[int], push: Push = no_push
) -> Opened:
    """Orvieto et al. 2023, in complex numbers."""
    opened, z = Opened(), [dense(weights, "enter", x) for x in inputs]
    for layer in range(layers):
        mine = below(weights, f"blocks.{layer}")
        eigenvalues = np.exp(-np.exp(mine["nu_log"]) + 1j * np.exp(mine["theta_log"]))
        into = mine["b_real"] + 1j * mine["b_imag"]
        out = mine["c_real"] + 1j * mine["c_imag"]
        u = [layer_norm(mine, "norm", row) for row in z]
        modes = len(eigenvalues)
        sides = []
        for end in ("", "_reverse")[: out.shape[1] // modes]:
            name = f"hidden{end}/{layer}"
            s, found = np.zeros(modes, dtype=complex), np.zeros((len(z), modes), dtype=complex)
            for t in range(len(z))[:: -1 if end else 1]:
                s = eigenvalues * s + np.exp(mine["gamma_log"]) * (into @ u[t])
                pushed = push(name, t) * np.ones(2 * modes)
                s = s + pushed[::2] + 1j * pushed[1::2]
                found[t] = s
            sides.append(found)
            opened.states[name] = np.stack([found.real, found.imag], axis=-1).reshape(len(z), -1)
        both = np.concatenate(sides, axis=1)
        following = []
        for t in range(len(z)):
            y = (out @ both[t]).real + mine["d"] * u[t]
            bent = np.array([0.5 * v * (1 + erf(v / np.sqrt(2))) for v in y])
            first, second = np.split(dense(mine, "gate", bent), 2)
            following.append(z[t] + first * sigmoid(second))
        z = following
    opened.features = np.array([z[q] for q in queries])
    return opened


def convolved(weights: Weights, name: str, dilation: int, z: list[Array]) -> list[Array]:
    """Bai et al. 2018, section 3.2: the last tap at the step itself, others before it."""
    v = weights[f"{name}.direction"]
    found = []
    for t in range(len(z)):
        row = weights[f"{name}.bias"].copy()
        for channel in range(len(v)):
            w = (
                weights[f"{name}.magnitude"][channel]
                * v[channel]
                / np.sqrt((v[channel] ** 2).sum())
            )
            for tap in range(w.shape[1]):
                at = t - dilation * (w.shape[1] - 1 - tap)
                if at >= 0:
                    row[channel] += w[:, tap] @ z[at]
        found.append(row)
    return found


def tcn(
    weights: Weights, layers: int, inputs: Array, queries: list[int], push: Push = no_push
) -> Opened:
    """Bai et al. 2018, figure 1 (b)."""
    opened, z = Opened(), list(inputs)
    for layer in range(layers):
        mine = below(weights, f"blocks.{layer}")
        inner = z
        for name in ("first", "second"):
            inner = [np.maximum(row, 0) for row in convolved(mine, name, 2**layer, inner)]
        if "match.weight" in mine:
            z = [mine["match.weight"][:, :, 0] @ row + mine["match.bias"] for row in z]
        z = [np.maximum(inner[t] + z[t], 0) + push(f"hidden/{layer}", t) for t in range(len(z))]
        opened.states[f"hidden/{layer}"] = np.array(z)
    opened.features = np.array([z[q] for q in queries])
    return opened
