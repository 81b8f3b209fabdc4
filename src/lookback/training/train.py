"""Stage `train`: trains the seeds that the store lacks, then assembles the cell's files."""

import io
import logging
import math
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from lookback.data.batch import SequenceDataset
from lookback.data.content import as_prepared
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import Diverged, UserError
from lookback.models.network import Network, build_network
from lookback.runtime import cpu_time
from lookback.runtime.devices import leased
from lookback.runtime.instantiate import instantiate
from lookback.storage import run_store
from lookback.storage.atomic import read_json, write_json
from lookback.storage.commit import commit_of_this_code
from lookback.storage.journal import Journal
from lookback.storage.paths import CellPaths, SeedPaths
from lookback.storage.tables import write_parquet
from lookback.training import seed_processes
from lookback.training.assemble import assemble
from lookback.training.batches import Batches
from lookback.training.budget import measured, steps_of, with_steps
from lookback.training.callbacks import Log, Resume, Validate
from lookback.training.evaluate import Scores, answers_of, predictions_of, scores_of
from lookback.training.match import matched
from lookback.training.modes import set_modes
from lookback.training.module import TrainingModule
from lookback.training.recipe import check_recipe

EVALUATED: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class TrainingCell:
    """What all seeds of a cell share."""

    name: tuple[str, str]  # task, model
    config: Mapping[str, Any]  # task, model, recipe, trainer, as they are trained
    plan: str
    facts: Facts
    data: Mapping[Split, SequenceDataset]
    device: str


def main(plan: Path, task: Path, seeds: list[int], out: Path) -> None:
    """Train `seeds` under `plan` on the task of `task` (task.json), into the folder `out`.

    A seed whose loss is no number is named in metrics.json, and the cell is that of the others.
    Raises Diverged where no seed is left.
    """
    tuning = CellPaths(out).tuning
    runs = run_store.runs_folder(plan, task, tuning)
    settings = run_store.train_settings(plan, tuning)
    if runs is None or settings is None:
        raise UserError(f"{tuning} is not of the tune plan that {plan} names. Start the study.")
    missing = [
        seed for seed in seeds if not run_store.is_finished(run_store.seed_folder(runs, seed))
    ]
    if missing:
        with leased(settings["trainer"]["devices"]) as device:
            opened = partial(open_cell, settings, plan, task, out, runs, device)
            count = seed_processes.at_once(
                settings["trainer"]["seeds_at_once"], device, len(missing)
            )
            if count == 1:
                cell = opened()
                for seed in missing:
                    _train_missing(cell, runs, seed)
            else:
                with seed_processes.sharing(device):
                    seed_processes.each(partial(_train_alone, opened, runs), missing, count)
    lost = {s: said for s in seeds if (said := run_store.failure(run_store.seed_folder(runs, s)))}
    if len(lost) == len(seeds):
        raise Diverged("; ".join(f"seed {seed}: {reason}" for seed, reason in lost.items()))
    with run_store.locked(out):
        # An orphan of an older plan must not write over the files of a newer one.
        if not run_store.is_wanted(out, plan.stem):
            raise UserError(f"{out} was started under another plan since; these seeds are kept.")
        facts = Facts.from_dict(read_json(task))
        assemble(settled(settings, facts, runs), plan, task, runs, seeds, out)


def _train_alone(opened: Callable[[], TrainingCell], runs: Path, seed: int) -> None:
    """One seed in a process of its own, which must be the one to open the device."""
    _train_missing(opened(), runs, seed)


def _train_missing(cell: TrainingCell, runs: Path, seed: int) -> None:
    """Train one seed, unless another process has done so meanwhile."""
    folder = run_store.seed_folder(runs, seed)
    with run_store.locked(folder):
        if not run_store.is_finished(folder):
            train_seed(cell, seed, folder)


def settled(settings: Mapping[str, Any], facts: Facts, runs: Path) -> dict[str, Any]:
    """What equal conditions make of a plan: the hidden size by `match`, the steps by `budget`.

    Raises UserError where no hidden size has as many parameters as `match` asks for.
    """
    config = dict(settings)
    if config.get("match"):
        config["model"] = matched(config["model"], config["match"], facts)
    return with_steps(config, facts, runs)


def open_cell(
    settings: Mapping[str, Any],
    plan: Path,
    task: Path,
    out: Path,
    runs: Path,
    device: str,
    splits: Sequence[Split] = SPLITS,
) -> TrainingCell:
    """What all seeds of a cell share: its config as it is trained, and `splits` on the device."""
    facts = Facts.from_dict(read_json(task))
    config = settled(settings, facts, runs)  # first: a mistake here costs no data
    torch.set_num_threads(config["trainer"]["threads"])
    quieten_lightning()
    torch.backends.cudnn.allow_tf32 = False  # else recurrent cells alone would be less than float32
    torch.set_flush_denormal(True)  # a state that fades slows a CPU 18 to 27 times otherwise
    made: Task = instantiate(config["task"])
    with cpu_time.work():
        data = {split: as_prepared(made, split, task).to(device) for split in splits}
    config = measured(config, facts, data["train"], runs)
    return TrainingCell((out.parent.name, out.name), config, plan.stem, facts, data, device)


def train_seed(cell: TrainingCell, seed: int, folder: Path) -> None:
    """Train one seed into `folder`, from its resume state where a kill left one.

    A seed that diverges leaves `failed.json` with the reason: the same numbers would again.
    """
    if cell.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    network = build_network(
        cell.config["model"], cell.config["recipe"]["initialisation"], cell.facts, seed=seed
    )
    resumed = _resume_state(SeedPaths(folder).resume)
    journal = Journal.resumed(SeedPaths(folder).journal, resumed["step"] if resumed else 0)
    try:
        _train(cell, seed, folder, network, journal, resumed)
    except Diverged as reason:
        print(f"seed {seed} diverged: {reason}")
        journal.event("failed", journal.step, reason=str(reason))
        write_json(
            SeedPaths(folder).failed, {"seed": seed, "plan": cell.plan, "reason": str(reason)}
        )
    else:
        journal.event("end", journal.step)
        write_json(SeedPaths(folder).done, {"seed": seed, "plan": cell.plan})
    journal.close()
    SeedPaths(folder).resume.unlink(missing_ok=True)


def _train(
    cell: TrainingCell,
    seed: int,
    folder: Path,
    network: Network,
    journal: Journal,
    resumed: Mapping[str, Any] | None,
) -> None:
    """Train, and write all that a finished seed leaves but the mark that it is finished."""
    config, recipe = cell.config["trainer"], cell.config["recipe"]
    check_recipe(recipe, cell.facts)
    set_modes(network, config, cell.device)
    steps = steps_of(config, cell.facts.sizes["train"])
    module = TrainingModule(network, recipe, cell.facts, steps, resumed)
    names = {"task": cell.name[0], "model": cell.name[1], "seed": seed, "plan": cell.plan}
    journal.event("start", module.step, steps=steps, **names)
    log = Log(journal, resumed)
    validate = Validate(cell.data["validation"], journal, log, resumed)
    origin = _origin(cell.device, config["threads"])
    resume = Resume(SeedPaths(folder).resume, seed, origin, log, validate)
    if resumed:
        resume.go_on_from(resumed)
        if len(resume.origins) > 1:
            print(f"seed {seed} goes on from a state made elsewhere: {' → '.join(resume.origins)}")
    batches = Batches(
        cell.data["train"],
        config["batch_size"],
        config["log_every"],
        seed=seed,
        epoch=lambda: module.epoch,
    )
    try:
        with cpu_time.work():
            trainer_of(cell.device, config, [log, validate, resume]).fit(module, batches)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    network.load_state_dict(validate.kept["network"])
    _leave(cell, seed, folder, network.to(cell.device), validate.kept["step"], module.step, resume)


def _resume_state(path: Path) -> dict[str, Any] | None:
    """What a killed training left; nothing where it cannot be read."""
    if not path.exists():
        return None
    content = io.BytesIO(path.read_bytes())
    try:
        state: dict[str, Any] = torch.load(content, weights_only=True, map_location="cpu")
    except Exception as error:  # torch has a different one for each place where a file is cut off
        print(f"{path} cannot be read ({error}): this seed starts anew.")
        return None
    return state


def quieten_lightning() -> None:
    """Its notices on devices, loaders and its own products are not about this run."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


def trainer_of(device: str, trainer: Mapping[str, Any], callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's trainer without what we do ourselves; the module says when to stop."""
    return pl.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1,
        plugins=[LightningEnvironment()],  # one process a cell: a cluster's variables mean others
        precision=trainer["precision"],
        max_epochs=-1,
        callbacks=callbacks,
        logger=False,
        deterministic=None if device == "cpu" else "warn",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _leave(
    cell: TrainingCell,
    seed: int,
    folder: Path,
    network: Network,
    best: int,
    steps: int,
    resume: Resume,
) -> None:
    """Write what a finished seed leaves, all but the mark that it is finished."""
    trained, start = resume.elapsed(), time.monotonic()
    facts = cell.facts
    with cpu_time.work():
        answers = {
            split: answers_of(network, cell.data[split])
            for split in EVALUATED
            if split in cell.data and len(cell.data[split])
        }
    result: dict[str, Any] = {"step": best, "steps": steps}
    for split, answered in answers.items():
        scores = scores_of(answered, cell.data[split], facts)
        _require_finite(scores, split)
        result |= {f"{split}/loss": scores.loss, f"{split}/{facts.metric}": scores.metric}
    with SeedPaths(folder).weights.open("wb") as file:
        torch.save({name: value.cpu() for name, value in network.state_dict().items()}, file)
    if "test" in answers:
        predictions = predictions_of(seed, answers["test"], cell.data["test"], facts)
        write_parquet(SeedPaths(folder).predictions, predictions, {})
    parameters = sum(parameter.numel() for parameter in network.parameters())
    write_json(SeedPaths(folder).result, {"parameters": parameters, "scores": result})
    cost = {
        "train_seconds": trained,
        "evaluate_seconds": time.monotonic() - start,
        "device": cell.device,
        "threads": cell.config["trainer"]["threads"],
        "origins": resume.origins,
        "peak_memory_mb": _peak_memory(cell.device),
        "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
        **commit_of_this_code(),
    }
    write_json(SeedPaths(folder).cost, cost)


def _require_finite(scores: Scores, split: str) -> None:
    if not math.isfinite(scores.loss):
        raise Diverged(f"the {split} loss of the weights kept is {scores.loss}")


def _origin(device: str, threads: int) -> str:
    """What a number's last bits depend on."""
    kind = (
        torch.cuda.get_device_name() if device != "cpu" else torch.backends.cpu.get_cpu_capability()
    )
    return f"{platform.machine()} {kind} torch {torch.__version__} threads {threads}"


def _peak_memory(device: str) -> float:
    """Of this seed on a GPU; on a CPU of the whole process, what it imported included."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
