"""Networks with weights set by hand, and how near each explainer comes to their Shapley values.

What such a network computes is known, so the truth belongs to the model and not to a task. The
Shapley values of all steps come from all 2^T sets of steps by their definition, with zero in place
of the other steps. Prints the tables of docs/explainers.md and writes them into the file.

    python bench/wired_networks.py
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from scipy.stats import spearmanr
from torch import Tensor

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import attribution_of, explained_answer
from lookback.models.attention import AttentionModel
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.network import Network
from lookback.models.rnn import RNN
from lookback.runtime.instantiate import instantiate

ROOT = Path(__file__).parents[1]
T, SEQUENCES = 10, 12
OPEN = 40.0  # σ(±20) is 1 or 0 up to 2e-9
SMALL = 0.001  # tanh(SMALL x) is SMALL x up to 1e-6 of it


@dataclass(frozen=True)
class Wired:
    """A network with one output, and inputs (B, T, F) on which its answer is known."""

    network: Network
    inputs: Tensor
    answers: Tensor  # (B,), computed without the network


# The settings of a recurrent network in its usual form.
PLAIN: dict[str, Any] = {
    "bias": "double",
    "bidirectional": False,
    "layer_norm": False,
    "recurrent_dropout": 0.0,
}


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rnn(features: int, size: int, layers: int = 1, nonlinearity: str = "relu") -> Network:
    """An Elman network whose weights are all zero."""
    encoder = RNN(features, size, layers, 0.0, nonlinearity, **PLAIN)
    return zeroed(Network(encoder, 1))


def zeroed(network: Network) -> Network:
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


@torch.no_grad()
def delay_line() -> Wired:
    """The input four steps before the end: unit 0 reads it, and unit i reads unit i − 1."""
    network, lag = rnn(1, 5), 4
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[0]
    w_x[0] = 1
    for unit in range(lag):
        w_h[unit + 1, unit] = 1
    network.head.weight[0, lag] = 1
    inputs = drawn(SEQUENCES, T, 1)
    return Wired(network, inputs, inputs[:, T - 1 - lag, 0])


@torch.no_grad()
def adder() -> Wired:
    """The sum of all inputs."""
    network = rnn(1, 1)
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[0]
    w_x[0], w_h[0] = 1, 1
    network.head.weight[0] = 1
    inputs = drawn(SEQUENCES, T, 1)
    return Wired(network, inputs, inputs.sum((1, 2)))


@torch.no_grad()
def diagonal_filter() -> Wired:
    """A sum of three leaky sums, which forget at different rates: y = Σ_n c_n Σ_k a_n^k x_{t−k}."""
    network = rnn(1, 3)
    decays, weights = (torch.tensor(x, dtype=torch.float64) for x in ([0.5, 0.8, 0.95], [1, -2, 1]))
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[0]
    w_x[:], w_h[:] = 1, torch.diag(decays)
    network.head.weight[0] = weights
    inputs = drawn(SEQUENCES, T, 1)
    kernel = (weights * decays ** torch.arange(T - 1, -1, -1).unsqueeze(1)).sum(1)
    return Wired(network, inputs, inputs[..., 0] @ kernel)


@torch.no_grad()
def counter() -> Wired:
    """How many inputs are above 0.5: two ReLU units make a steep step, and a second layer adds."""
    network, steep = rnn(1, 2, layers=2), 1e4
    w_x, _, b_x, _ = network.encoder.kernel.all_weights[0]
    w_x[:], b_x[0], b_x[1] = steep, -steep / 2, -steep / 2 - 1
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[1]
    w_x[0, 0], w_x[0, 1], w_h[0, 0] = 1, -1, 1
    network.head.weight[0, 0] = 1
    inputs = drawn(SEQUENCES, T, 1)
    return Wired(network, inputs, (inputs > 0.5).double().sum((1, 2)))


@torch.no_grad()
def latch() -> Wired:
    """Whether any input was above 0.9: one such input sets a saturated state, which then stays."""
    network = rnn(1, 1, nonlinearity="tanh")
    w_x, w_h, b_x, _ = network.encoder.kernel.all_weights[0]
    w_x[:], w_h[:], b_x[:] = 400, 200, -160
    network.head.weight[0], network.head.bias[0] = 0.5, 0.5
    inputs = drawn(SEQUENCES, T, 1) * 0.3
    for row in range(SEQUENCES):
        inputs[row, row % (T - 2)] = 0.95
    return Wired(network, inputs, torch.ones(SEQUENCES, dtype=torch.float64))


@torch.no_grad()
def redundant_latch() -> Wired:
    """The same latch with two inputs above 0.9: either of them alone would set it."""
    wired = latch()
    inputs = wired.inputs.clone()
    for row in range(SEQUENCES):
        inputs[row, row % (T - 2) + 2] = 0.95
    return Wired(wired.network, inputs, wired.answers)


@torch.no_grad()
def cancelling_pair() -> Wired:
    """The sum of feature 0 minus the sum of feature 1, which is near zero: the parts cancel."""
    network = rnn(2, 2)
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[0]
    w_x[:], w_h[:] = torch.eye(2), torch.eye(2)
    network.head.weight[0] = torch.tensor([1.0, -1.0])
    inputs = drawn(SEQUENCES, T, 2)
    places = torch.randperm(T, generator=torch.Generator().manual_seed(1))
    inputs[..., 1] = inputs[:, places, 0] * (1 + 1e-4)
    return Wired(network, inputs, (inputs[..., 0] - inputs[..., 1]).sum(1))


@torch.no_grad()
def exclusive_or() -> Wired:
    """|x_q − x_{q−3}| of bits, from a delay line and a second layer: XOR at lag 3."""
    network, lag = rnn(1, 4, layers=2), 3
    w_x, w_h, _, _ = network.encoder.kernel.all_weights[0]
    w_x[0] = 1
    for unit in range(lag):
        w_h[unit + 1, unit] = 1
    w_x, _, _, _ = network.encoder.kernel.all_weights[1]
    w_x[0, 0], w_x[0, lag], w_x[1, 0], w_x[1, lag] = 1, -1, -1, 1
    network.head.weight[0, :2] = 1
    inputs = (drawn(SEQUENCES, T, 1) > 0.5).double()
    return Wired(network, inputs, (inputs[:, -1, 0] - inputs[:, -1 - lag, 0]).abs())


def marked(count: int) -> Tensor:
    """Values from 0 to 1, and a marker that is 1 at `count` steps of each sequence."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.stack([drawn(SEQUENCES, T), torch.zeros(SEQUENCES, T).double()], dim=2)
    for row in range(SEQUENCES):
        inputs[row, torch.randperm(T, generator=generator)[:count], 1] = 1
    return inputs


@torch.no_grad()
def lstm_adding(count: int = 2) -> Wired:
    """An LSTM that solves the adding problem: the marker opens the input gate for the value."""
    network = zeroed(Network(LSTM(2, 1, 1, 0.0, **PLAIN), 1))
    w_x, _, b_x, _ = network.encoder.kernel.all_weights[0]
    w_x[0, 1], b_x[0] = OPEN, -OPEN / 2  # input gate
    b_x[1], w_x[2, 0], b_x[3] = OPEN, SMALL, OPEN  # forget gate, candidate, output gate
    network.head.weight[0] = 1 / SMALL
    inputs = marked(count)
    return Wired(network, inputs, inputs.prod(2).sum(1))


def gated_copy() -> Wired:
    """The same LSTM with one marker: it copies the marked value."""
    return lstm_adding(1)


@torch.no_grad()
def gru_latest() -> Wired:
    """A GRU that keeps the latest marked value: the marker shuts the update gate for one step."""
    network = zeroed(Network(GRU(2, 1, 1, 0.0, "after", **PLAIN), 1))
    w_x, _, b_x, _ = network.encoder.kernel.all_weights[0]
    w_x[1, 1], b_x[1] = -OPEN, OPEN / 2  # update gate
    w_x[2, 0] = SMALL  # candidate
    network.head.weight[0] = 1 / SMALL
    inputs = marked(3)
    last = T - 1 - inputs[..., 1].flip(1).argmax(1)
    return Wired(network, inputs, inputs[torch.arange(SEQUENCES), last, 0])


@torch.no_grad()
def look_up() -> Wired:
    """Attention to the marked step, whose value it copies: all other weights are about e⁻⁴⁰."""

    def states(features: int, hidden_size: int) -> RNN:
        return RNN(features, hidden_size, 1, 0.0, "relu", **PLAIN)

    network = zeroed(Network(AttentionModel(2, 2, states, "scaled_dot", 1), 1))
    model = network.encoder
    model.encoder.kernel.all_weights[0][0][:] = torch.eye(2)
    model.from_query.bias[0], model.from_key.weight[0, 1] = math.sqrt(2), OPEN
    model.combine.weight[0, 0] = SMALL
    network.head.weight[0, 0] = 1 / SMALL
    inputs = marked(1)
    return Wired(network, inputs, inputs.prod(2).sum(1))


NETWORKS: dict[str, Callable[[], Wired]] = {
    build.__name__: build
    for build in (
        delay_line,
        adder,
        diagonal_filter,
        counter,
        latch,
        redundant_latch,
        cancelling_pair,
        exclusive_or,
        gated_copy,
        lstm_adding,
        gru_latest,
        look_up,
    )
}


def asked(wired: Wired) -> Batch:
    lengths = torch.full((len(wired.inputs),), T)
    return Batch(wired.inputs, lengths, lengths.unsqueeze(1) - 1, wired.answers.view(-1, 1, 1))


@torch.no_grad()
def exact_shapley(wired: Wired) -> Tensor:
    """The Shapley values (B, T) of the steps, from the answers for all 2^T sets of steps."""
    count, batch = len(wired.inputs), asked(wired)
    sets = (torch.arange(2**T).unsqueeze(1) >> torch.arange(T)) & 1  # (2^T, T)
    worth = []
    for part in torch.split(sets, 128):
        inputs = (wired.inputs * part.view(-1, 1, T, 1)).flatten(0, 1)
        lengths = batch.lengths.repeat(len(part))
        repeated = Batch(inputs, lengths, lengths.unsqueeze(1) - 1, lengths.unsqueeze(1))
        output = torch.zeros_like(lengths)
        worth.append(explained_answer(wired.network, repeated, output, inputs).view(-1, count))
    answers, sizes = torch.cat(worth), sets.sum(1)
    values = torch.zeros(count, T, dtype=torch.float64)
    for step in range(T):
        without = (sets[:, step] == 0).nonzero()[:, 0]
        weights = torch.tensor(
            [1 / (T * math.comb(T - 1, int(size))) for size in sizes[without]],
            dtype=torch.float64,
        )
        gain = answers[without + 2**step] - answers[without]
        values[:, step] = weights @ gain
    return values


def explainers() -> dict[str, object]:
    """All shipped explainers, with the baseline zero where they have one."""
    found = {}
    for path in sorted((ROOT / "conf/explainer").glob("*.yaml")):
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if settings.get("baseline") == "mean":
            settings["baseline"] = "zero"
        found[path.stem] = instantiate(settings)
    return found


def attributed(wired: Wired, explainer: object) -> Tensor:
    """The values (B, T) that an explainer gives to the steps. All background sequences are zero."""
    attribution = attribution_of(
        explainer,  # type: ignore[arg-type]
        wired.network,
        asked(wired),
        torch.zeros(len(wired.inputs), dtype=torch.int64),
        background=torch.zeros(1, *wired.inputs.shape[1:], dtype=torch.float64),
        generator=torch.Generator().manual_seed(0),
    )
    return attribution.values.sum(dim=2).detach()


def agreement(values: Tensor, exact: Tensor) -> tuple[float, float]:
    """Mean rank correlation with the exact values, and the relative error ‖φ − φ*‖ / ‖φ*‖.

    Values that differ by less than 1e-6 of the largest value count as equal. A constant map has
    rank correlation 0. Sequences whose exact values are all equal are left out of it.
    """
    correlations = []
    for found, true in zip(values, exact, strict=True):
        found, true = (row / row.abs().max().clamp(min=1e-6) for row in (found, true))
        found, true = found.round(decimals=6), true.round(decimals=6)
        if (true == true[0]).all():
            continue
        constant = bool((found == found[0]).all())
        correlations.append(0.0 if constant else float(spearmanr(found, true).statistic))
    error = (values - exact).norm() / exact.norm()
    return sum(correlations) / len(correlations), float(error)


def table(number: int) -> str:
    """A Markdown table: networks by explainers, with rank correlations (0) or errors (1)."""
    shipped = explainers()
    rows = [
        "| network | " + " | ".join(name.replace("_", " ") for name in shipped) + " |",
        "| --- |" + " --- |" * len(shipped),
    ]
    for name, build in NETWORKS.items():
        wired = build()
        exact, cells = exact_shapley(wired), []
        for explainer in shipped.values():
            try:
                pair = agreement(attributed(wired, explainer), exact)
                cells.append(f"{pair[number]:.2f}" if pair[number] < 100 else f"{pair[number]:.0e}")
            except NotApplicable:
                cells.append("–")
        rows.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Print the tables, and write them between the marks of docs/explainers.md."""
    path = ROOT / "docs/explainers.md"
    text = path.read_text(encoding="utf-8")
    for number, name in enumerate(("rank correlation", "relative error")):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        shown = table(number)
        sys.stdout.write(f"{name}\n{shown}\n")
        text = f"{head}{begin}{shown}\n{end}{rest.split(end)[1]}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
