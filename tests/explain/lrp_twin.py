"""LRP of one sequence by the rules of Arras and others (2017, 2019), one neuron at a time in numpy.

The twin knows nothing of batches and keeps the relevance of the state before the first step apart.
"""

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lrp_linear(a: Array, w: Array, b: Array, z: Array, r: Array, units: int, eps: float) -> Array:
    """Equation 2 of the 2017 paper with δ = 1: the relevance of the inputs `a` of z.

    `units` is the number N of all lower-layer neurons of z, of which `a` may be a part.
    """
    relevance = np.zeros(len(a))
    for i in range(len(a)):
        for j in range(len(z)):
            sign = 1.0 if z[j] >= 0 else -1.0
            message = w[i, j] * a[i] + (b[j] + eps * sign) / units
            relevance[i] += message / (z[j] + eps * sign) * r[j]
    return relevance


class Steps:
    """The forward pass of one direction of a layer, and its backward pass of relevance."""

    def __init__(self, kind: str, weights: list[Array], inputs: Array, eps: float):
        self.kind, self.inputs, self.eps = kind, inputs, eps
        self.w_x, self.w_h, self.b_x, self.b_h = weights
        self.size = self.w_h.shape[1]
        self.h, self.c, self.notes = [np.zeros(self.size)], [np.zeros(self.size)], []
        for x in inputs:
            getattr(self, kind)(x, self.h[-1])

    def block(self, number: int) -> list[Array]:
        rows = slice(number * self.size, (number + 1) * self.size)
        return [w[rows] for w in (self.w_x, self.w_h, self.b_x, self.b_h)]

    def gate(self, number: int, x: Array, h: Array) -> Array:
        w_x, w_h, b_x, b_h = self.block(number)
        return w_x @ x + b_x + w_h @ h + b_h

    def rnn(self, x: Array, h: Array) -> None:
        z = self.gate(0, x, h)
        self.h.append(np.tanh(z))
        self.notes.append({"z": z})

    def lstm(self, x: Array, h: Array) -> None:
        i, f, o = (sigmoid(self.gate(n, x, h)) for n in (0, 1, 3))
        z = self.gate(2, x, h)
        self.notes.append({"z": z, "kept": f * self.c[-1], "new": i * np.tanh(z)})
        self.c.append(f * self.c[-1] + i * np.tanh(z))
        self.h.append(o * np.tanh(self.c[-1]))

    def gru(self, x: Array, h: Array) -> None:
        r, u = (sigmoid(self.gate(n, x, h)) for n in (0, 1))
        w_x, w_h, b_x, b_h = self.block(2)
        z = w_x @ x + b_x + r * (w_h @ h + b_h)
        self.notes.append({"z": z, "r": r, "kept": u * h, "new": (1 - u) * np.tanh(z)})
        self.h.append((1 - u) * np.tanh(z) + u * h)

    def relevance(self, of_outputs: Array, *, drop_start: bool) -> tuple[Array, Array]:
        """The relevance of the inputs (T, F), and that of the two parts of the state before.

        With `drop_start`, the zero state before the first step is no neuron of the first step.
        """
        n, eye, zero = self.size, np.eye(self.size), np.zeros(self.size)
        r_h, r_c = np.zeros(n), np.zeros(n)
        found = np.zeros_like(self.inputs)
        for t in reversed(range(len(self.inputs))):
            note, alone = self.notes[t], drop_start and t == 0
            r_state = r_h + of_outputs[t] + (r_c if self.kind == "lstm" else 0)
            r_signal, r_kept = r_state, zero
            if self.kind != "rnn":
                units, state = n if alone else 2 * n, note["kept"] + note["new"]
                r_signal = lrp_linear(note["new"], eye, zero, state, r_state, units, self.eps)
                r_kept = lrp_linear(note["kept"], eye, zero, state, r_state, units, self.eps)
            w_x, w_h, b_x, b_h = self.block(0 if self.kind == "rnn" else 2)
            reset = note.get("r", np.ones(n))
            bias, features = b_x + reset * b_h, len(self.inputs[t])
            units = features if alone else features + n
            given = (bias, note["z"], r_signal, units, self.eps)
            found[t] = lrp_linear(self.inputs[t], w_x.T, *given)
            r_h = lrp_linear(self.h[t], (reset[:, None] * w_h).T, *given)
            if self.kind == "lstm":
                r_c = r_kept
            else:
                r_h = r_h + r_kept
        return found, np.stack([r_h, r_c])
