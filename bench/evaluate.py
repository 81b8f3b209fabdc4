"""Compares the time of evaluating a test set with the time of the forward passes alone.

An evaluation computes answers, scores and the table of predictions, as the stages do. Evaluation
and forward passes alternate on one thread, so that a busy machine slows both. A ratio is the median
over pairs. Prints a table and writes bench/results/evaluate.json with machine, versions and commit.

    python bench/evaluate.py [pairs]
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch
from writing import write

from lookback.data.batch import SequenceDataset
from lookback.data.task import Facts
from lookback.models.network import Network, build_network
from lookback.planning.study import compose_by_hand
from lookback.training.evaluate import evaluate_with_predictions, sequences_at_once

ROOT = Path(__file__).parents[1]
MODELS = ("rnn", "gru", "lstm")
SHAPES = (  # sequences, steps, features, queries, kind
    (10_000, 28, 28, 1, "class"),  # MNIST by rows
    (1_000, 784, 1, 1, "class"),  # MNIST by pixels
    (1_000, 200, 2, 1, "value"),  # adding
    (1_000, 100, 10, 10, "class"),  # delayed recall: 10 answers per sequence
)


def split_of(shape: tuple) -> tuple[SequenceDataset, Facts]:
    """A test set of random sequences, and its facts."""
    sequences, steps, features, queries, kind = shape
    outputs = 10 if kind == "class" else 1
    target = (
        torch.randint(outputs, (sequences, queries))
        if kind == "class"
        else torch.randn(sequences, queries, outputs)
    )
    data = SequenceDataset(
        inputs=torch.randn(sequences, steps, features),
        lengths=torch.full((sequences,), steps),
        query=torch.arange(steps - queries, steps).expand(sequences, -1).contiguous(),
        target=target,
        lag=torch.full((sequences, queries), queries),
    )
    facts = Facts(
        kind=kind,
        tokens=False,
        features=features,
        length=steps,
        outputs=outputs,
        metric="accuracy" if kind == "class" else "mse",
        baseline=0.1,
        baseline_name="none",
        sizes={"train": 1, "validation": 1, "test": sequences},
    )
    return data, facts


@torch.no_grad()
def bare(network: Network, data: SequenceDataset) -> None:
    """Run the forward passes over the batches of an evaluation."""
    network.eval()
    size = sequences_at_once(network, data)
    for start in range(0, len(data), size):
        batch = slice(start, start + size)
        network(data.inputs[batch], data.lengths[batch], data.query[batch])


def ours(network: Network, data: SequenceDataset, facts: Facts) -> pd.DataFrame:
    """Evaluate a split as a stage does; return the table of predictions."""
    _, predictions = evaluate_with_predictions(0, network, data, facts)
    return predictions


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def compare(name: str, shape: tuple, pairs: int) -> dict:
    """Median milliseconds over `pairs`, after two pairs that warm up."""
    cell = compose_by_hand(ROOT / "conf", "adding", name, 0, []).cells["adding", name]
    data, facts = split_of(shape)
    network = build_network(cell.model, cell.recipe["initialisation"], facts, seed=0)
    times = [
        (
            milliseconds(lambda: bare(network, data)),
            milliseconds(lambda: ours(network, data, facts)),
        )
        for _ in range(pairs + 2)
    ][2:]
    forward, whole = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(ours_ms / bare_ms for bare_ms, ours_ms in times)
    return {"model": name, "shape": shape, "bare": forward, "ours": whole, "ratio": ratio}


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [compare(name, shape, pairs) for name in MODELS for shape in SHAPES]
    print(f"{'model':<6}{'N, T, F, Q, kind':<32}{'bare ms':>9}{'ours ms':>9}{'ratio':>7}")
    for row in rows:
        print(
            f"{row['model']:<6}{row['shape']!s:<32}"
            f"{row['bare']:>9.2f}{row['ours']:>9.2f}{row['ratio']:>7.3f}"
        )
    write("evaluate", pairs=pairs, pandas=pd.__version__, rows=rows)


if __name__ == "__main__":
    main()
