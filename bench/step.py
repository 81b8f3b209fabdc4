"""Measures the time that Lightning, the journal and our callbacks add to a step of plain PyTorch.

Both loops use the same network, data, batches, optimiser and clipping on one thread. The loops
alternate, so that a busy machine slows both. Prints medians and the difference, and writes
bench/results/step.json with machine, versions and commit.

    python bench/step.py [rounds]
"""

import statistics
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import LambdaLR
from writing import write

from lookback.data.adding import Adding
from lookback.models.network import Network, build_network
from lookback.planning.study import compose_by_hand
from lookback.storage.journal import Journal
from lookback.training.batches import Batches
from lookback.training.callbacks import Log, Resume, Validate
from lookback.training.loss import answer_loss
from lookback.training.module import TrainingModule
from lookback.training.recipe import optimizer_of
from lookback.training.schedule import share_of
from lookback.training.trainer import quieten_lightning, trainer_of

ROOT = Path(__file__).parents[1]
SHAPES = ((64, 64), (64, 8))  # batch, steps
STEPS = 100


def bare(network: Network, task: Adding, batches: Batches, recipe: dict, steps: int) -> float:
    """Milliseconds per step of a plain PyTorch training loop."""
    optimizer = optimizer_of(recipe, network)
    schedule = LambdaLR(optimizer, share_of(recipe, steps))
    start = time.perf_counter()
    for batch in chain.from_iterable(batches):
        answers = network(batch.inputs, batch.lengths, batch.query)
        loss = answer_loss(answers, batch.query, batch.target, "value")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe["clip"])
        optimizer.step()
        schedule.step()
    return 1e3 * (time.perf_counter() - start) / steps


class Stopwatch(pl.Callback):
    """Measures the seconds from the start of the first step to the end of the last step."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def ours(network: Network, task: Adding, batches: Batches, config: dict, folder: Path) -> float:
    """Milliseconds per step of the training loop of `lookback train`."""
    module = TrainingModule(network, config["recipe"], task.facts(), STEPS, seed=0, accumulate=1)
    journal = Journal(folder / "journal.jsonl")
    log = Log(journal, None)
    validate = Validate(task.dataset("validation"), journal, log, STEPS, None)
    resume = Resume(folder / "resume.ckpt", "bench", log, validate)
    watch = Stopwatch()
    callbacks = [log, validate, resume, watch]
    trainer_of("cpu", config["trainer"], callbacks).fit(module, batches)
    return 1e3 * watch.seconds / STEPS


def compare(batch: int, length: int, rounds: int) -> dict[str, float]:
    """Median milliseconds per step of both loops over `rounds` alternating measurements."""
    cell = compose_by_hand(ROOT / "conf", "adding", "lstm", 0, []).cells["adding", "lstm"]
    config = {"recipe": cell.recipe, "trainer": cell.trainer}
    task = Adding(length, train=batch * STEPS, validation=64, test=64, seed=0, fresh=False)
    data = task.dataset("train")
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(rounds):
        for name, measured in times.items():
            start = config["recipe"]["initialisation"]
            network = build_network(cell.model, start, task.facts(), seed=0)
            every = config["trainer"]["log_every"]
            batches = Batches(data, batch, (every,), seed=0, step=lambda: 0)
            if name == "bare":
                measured.append(bare(network, task, batches, config["recipe"], STEPS))
            else:
                with tempfile.TemporaryDirectory() as folder:
                    measured.append(ours(network, task, batches, config, Path(folder)))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    differences = [b - a for a, b in zip(times["bare"], times["ours"], strict=True)]
    return {"batch": batch, "steps": length, **medians, "added": statistics.median(differences)}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.set_num_threads(1)
    quieten_lightning()
    rows = [compare(batch, length, rounds) for batch, length in SHAPES]
    print(f"{'batch':>6}{'steps':>6}{'bare ms':>9}{'ours ms':>9}{'added ms':>10}{'ratio':>7}")
    for row in rows:
        print(
            f"{row['batch']:>6}{row['steps']:>6}{row['bare']:>9.2f}{row['ours']:>9.2f}"
            f"{row['added']:>10.2f}{row['ours'] / row['bare']:>7.2f}"
        )
    write("step", rounds=rounds, lightning=pl.__version__, rows=rows)


if __name__ == "__main__":
    main()
