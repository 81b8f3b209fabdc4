"""Stage `train`: trains one network per seed of a cell, then writes the cell's result files."""

import io
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lookback.data.batch import SequenceDataset
from lookback.data.content import as_prepared, digest_of
from lookback.data.fresh import FreshSequences
from lookback.data.task import SPLITS, Facts, Split, Task
from lookback.errors import Diverged, UserError
from lookback.models.network import Network, build_network
from lookback.runtime import cpu_time
from lookback.runtime.gpu_lease import leased
from lookback.runtime.instantiate import instantiate
from lookback.storage import run_store
from lookback.storage.atomic import atomic_write, read_json, write_json
from lookback.storage.cell_paths import CellPaths, SeedPaths
from lookback.storage.commit import commit_of_this_code
from lookback.storage.journal import Journal
from lookback.storage.tables import write_parquet
from lookback.training import seed_processes
from lookback.training.assemble import assemble
from lookback.training.batches import Batches, TrainData
from lookback.training.budget import (
    steps_between_validations,
    steps_of,
    with_measured_steps,
    with_steps,
)
from lookback.training.callbacks import Log, Resume, Validate
from lookback.training.divergence import require_sound
from lookback.training.evaluate import Scores, evaluate, evaluate_with_predictions
from lookback.training.match import match_hidden_size
from lookback.training.modes import set_modes
from lookback.training.module import TrainingModule
from lookback.training.recipe import check_recipe
from lookback.training.trainer import fit, quieten_lightning


@dataclass(frozen=True)
class TrainingCell:
    """The settings, task facts, data and device that all seeds of one model on one task share.

    If each run draws a split for itself, `data` has this split only after `with_data_of`.
    """

    name: tuple[str, str]  # (task, model)
    config: Mapping[str, Any]  # settings of the task, model, recipe and trainer
    plan: str  # digest of the training plan
    facts: Facts
    data: Mapping[Split, SequenceDataset]
    device: str
    task: Task
    splits: Sequence[Split]  # the splits that the training and its scores need

    def with_data_of(self, seed: int) -> "TrainingCell":
        """The cell with all its splits, of which `task` draws some from the seed of the run."""
        own = [split for split in self.splits if split not in self.data]
        if not own:
            return self
        task = self.task.of_run(seed)
        with cpu_time.work():
            drawn = {split: task.dataset(split).to(self.device) for split in own}
        return replace(self, task=task, data={**self.data, **drawn})

    @property
    def train(self) -> TrainData:
        """The train sequences, after `with_data_of`."""
        if self.task.fresh:
            size = self.facts.sizes["train"]
            return FreshSequences(self.task, size, torch.device(self.device))
        return self.data["train"]


def main(plan: Path, task: Path, seeds: list[int], out: Path) -> None:
    """Train one network per seed, and write the result files into the folder `out`.

    `plan` is the file with the settings of the training, and `task` is the file task.json of the
    prepared task. A seed whose network is already trained is skipped. The training of a seed
    diverges if a loss becomes infinite or NaN. The file metrics.json lists the diverged seeds, and
    the other result files leave them out. Raises Diverged if the training of every seed diverged.
    Raises UserError if the tuning result was not made from the tuning plan file that `plan` names.
    Raises UserError if the study was started again with another training plan file during the call.
    """
    tuning = CellPaths(out).tuning
    runs = run_store.runs_folder(plan, task, tuning)
    settings = run_store.train_settings(plan, tuning)
    if runs is None or settings is None:
        raise UserError(
            f"{tuning} was not made by the tune plan that {plan} names. Start the study again."
        )
    missing = [seed for seed in seeds if not run_store.is_intact(run_store.seed_folder(runs, seed))]
    if missing:
        with leased(settings["trainer"]["devices"]) as device:
            open_this_cell = partial(open_cell, settings, plan, task, out, runs, device)
            count = seed_processes.seeds_at_once(
                settings["trainer"]["seeds_at_once"], device, len(missing)
            )
            if count == 1:
                cell = open_this_cell()
                for seed in missing:
                    _train_missing(cell, runs, seed)
            else:
                train_one = partial(_train_in_own_process, open_this_cell, runs)
                with seed_processes.share_gpu(device):
                    seed_processes.train_in_processes(train_one, missing, count)
    failures = {seed: run_store.failure(run_store.seed_folder(runs, seed)) for seed in seeds}
    if all(failures.values()):
        raise Diverged("; ".join(f"seed {seed}: {reason}" for seed, reason in failures.items()))
    with run_store.locked(out):
        # A process with an older plan file must not overwrite results of a newer plan file.
        if not run_store.is_wanted(out, plan.stem):
            raise UserError(
                f"another plan was started for {out} meanwhile, so its files are not written. "
                "The trained seeds are kept."
            )
        facts = Facts.from_dict(read_json(task))
        assemble(resolve_settings(settings, facts, runs), plan, task, runs, seeds, out)


def _train_in_own_process(
    open_this_cell: Callable[[], TrainingCell], runs: Path, seed: int
) -> None:
    """Load the settings and the data, and train the network of one seed, in a forked process.

    The data are loaded after the fork, because CUDA must not be initialised before the fork.
    """
    _train_missing(open_this_cell(), runs, seed)


def _train_missing(cell: TrainingCell, runs: Path, seed: int) -> None:
    """Train the network of one seed, unless another process has already trained this network."""
    folder = run_store.seed_folder(runs, seed)
    with run_store.locked(folder):
        if not run_store.is_intact(folder):
            train_seed(cell, seed, folder)


def resolve_settings(settings: Mapping[str, Any], facts: Facts, runs: Path) -> dict[str, Any]:
    """The training settings, with the hidden size set by `match` and the steps set by `budget`.

    Raises UserError if no hidden size has the number of parameters that the setting `match` asks
    for.
    """
    config = dict(settings)
    if config.get("match"):
        config["model"] = match_hidden_size(config["model"], config["match"], facts)
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
    """Load the settings, task facts and data that all seeds of one model on one task share.

    Only the data splits in `splits` are loaded, and they are stored on the device. A split that
    each run draws for itself is not loaded (`TrainingCell.with_data_of`). Raises UserError if the
    settings are invalid, or if the generated data differ from the data that `task` (task.json)
    describes.
    """
    facts = Facts.from_dict(read_json(task))
    # Resolve the settings before the data are generated, to report a wrong setting early.
    config = resolve_settings(settings, facts, runs)
    torch.set_num_threads(config["trainer"]["threads"])
    quieten_lightning()
    # Let cuDNN's recurrent kernels use float32 like all other operations, instead of TF32.
    torch.backends.cudnn.allow_tf32 = False
    # Round denormal numbers to 0, because they make CPU steps take 18 to 27 times as long.
    # Denormal numbers occur when a hidden state decays towards 0.
    torch.set_flush_denormal(True)
    task_object: Task = instantiate(config["task"])
    digests = read_json(task)["digest"]
    # A generated task draws test first, then validation, then train.
    needed = [split for split in reversed(SPLITS) if split in splits]
    if task_object.fresh:
        needed.remove("train")
    shared = [split for split in needed if split not in task_object.drawn_per_run]
    with cpu_time.work():
        data = {split: as_prepared(task_object, split, digests).to(device) for split in shared}
    name = (out.parent.name, out.name)
    cell = TrainingCell(name, config, plan.stem, facts, data, device, task_object, needed)
    if "seconds" in (config["trainer"]["budget"] or {}):
        train = cell.with_data_of(0).train
        return replace(cell, config=with_measured_steps(config, facts, train, runs))
    return cell


def train_seed(cell: TrainingCell, seed: int, folder: Path) -> None:
    """Train the network of one seed, and write its files to the folder `folder`.

    If a saved training state exists, the training continues from this state. If the training
    diverges, the file failed.json stores the reason. A training run that diverged is not repeated,
    because the same computation would diverge again.
    """
    cell = cell.with_data_of(seed)
    SeedPaths(folder).done.unlink(missing_ok=True)  # left over if a file of the seed was damaged
    if cell.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    network = build_network(
        cell.config["model"], cell.config["recipe"]["initialisation"], cell.facts, seed=seed
    )
    resumed = _resume_state(SeedPaths(folder))
    journal = Journal.resumed(SeedPaths(folder).journal, resumed["step"] if resumed else 0)
    try:
        _train(cell, seed, folder, network, journal, resumed)
    except Diverged as reason:
        print(f"seed {seed} diverged: {reason}")
        journal.event("failed", journal.step, reason=str(reason))
        journal.close()
        write_json(
            SeedPaths(folder).failed, {"seed": seed, "plan": cell.plan, "reason": str(reason)}
        )
    else:
        journal.event("end", journal.step)
        journal.close()
        run_store.mark_finished(folder, {"seed": seed, "plan": cell.plan})
    SeedPaths(folder).resume.unlink(missing_ok=True)


def _train(
    cell: TrainingCell,
    seed: int,
    folder: Path,
    network: Network,
    journal: Journal,
    resumed: Mapping[str, Any] | None,
) -> None:
    """Train the network of one seed, and write all its result files except done.json."""
    config, recipe = cell.config["trainer"], cell.config["recipe"]
    check_recipe(recipe, cell.facts)
    set_modes(network, config, cell.device)
    steps = steps_of(config, cell.facts.sizes["train"])
    module = TrainingModule(network, recipe, cell.facts, steps, seed, config["accumulate"], resumed)
    names = {"task": cell.name[0], "model": cell.name[1], "seed": seed, "plan": cell.plan}
    journal.event("start", module.step, steps=steps, **names)
    log = Log(journal, resumed)
    every = steps_between_validations(config, steps)
    validate = Validate(cell.data["validation"], journal, log, every, resumed)
    origin = _origin(cell.device, config["threads"])
    resume = Resume(SeedPaths(folder).resume, origin, log, validate)
    if resumed:
        resume.continue_from(resumed)
        if len(resume.origins) > 1:
            machines = " → ".join(resume.origins)
            print(f"seed {seed} continues from a resume state of another machine: {machines}")
    batches = Batches(
        cell.train,
        config["batch_size"],
        (config["log_every"], every),
        seed=seed,
        step=lambda: module.step,
    )
    with cpu_time.work():
        fit(module, batches, config, cell.device, [log, validate, resume])
    network.load_state_dict(validate.kept["network"])
    network.to(cell.device)
    _write_results(cell, seed, folder, network, validate.kept["step"], module.step, resume)


def _resume_state(seed: SeedPaths) -> dict[str, Any] | None:
    """The saved training state of a killed run.

    The result is None if the file resume.ckpt is missing or cannot be read, or if entries of the
    journal were lost. Without these entries, the learning curves would have a hole.
    """
    path = seed.resume
    if not path.exists():
        return None
    content = io.BytesIO(path.read_bytes())
    try:
        state: dict[str, Any] = torch.load(content, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises many different exceptions for truncated files
        print(f"{path} cannot be read ({error}), so this seed starts from its first step.")
        return None
    entries_are_lost = (
        not seed.journal.exists() or seed.journal.stat().st_size < state["journal_bytes"]
    )
    if entries_are_lost:
        print(f"{seed.journal} is not whole, so this seed starts from its first step.")
        return None
    return state


def _write_results(
    cell: TrainingCell,
    seed: int,
    folder: Path,
    network: Network,
    selected_step: int,
    steps: int,
    resume: Resume,
) -> None:
    """Write all result files of one seed except done.json, which marks the seed as finished.

    `selected_step` is the step whose weights were selected, out of `steps` steps. Raises Diverged
    if `require_sound` refuses the loss of the selected weights on validation or test.
    """
    train_seconds, start = resume.elapsed(), time.monotonic()
    facts = cell.facts
    scores: dict[Split, Scores] = {}
    predictions = None
    with cpu_time.work():
        if len(cell.data["validation"]):
            scores["validation"] = evaluate(network, cell.data["validation"], facts)
        if "test" in cell.data:
            test = evaluate_with_predictions(seed, network, cell.data["test"], facts)
            scores["test"], predictions = test
    result: dict[str, Any] = {"step": selected_step, "steps": steps}
    for split, of_split in scores.items():
        require_sound(of_split, split, facts)
        result |= {f"{split}/loss": of_split.loss, f"{split}/{facts.metric}": of_split.metric}
        result |= {f"{split}/{name}": value for name, value in of_split.others.items()}
    if predictions is not None:
        write_parquet(SeedPaths(folder).predictions, predictions, {})
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    with atomic_write(SeedPaths(folder).weights) as temporary, temporary.open("wb") as file:
        torch.save(weights, file)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    own = [split for split in cell.task.drawn_per_run if split in cell.data]
    drawn = {split: digest_of(cell.data[split].to("cpu")) for split in own}
    result_of_seed = {"parameters": parameters, "scores": result, "digest": drawn}
    write_json(SeedPaths(folder).result, result_of_seed)
    cost = {
        "train_seconds": train_seconds,
        "evaluate_seconds": time.monotonic() - start,
        "device": cell.device,
        "threads": cell.config["trainer"]["threads"],
        "origins": resume.origins,
        "peak_memory_mb": _peak_memory(cell.device),
        "versions": {name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
        **commit_of_this_code(),
    }
    write_json(SeedPaths(folder).cost, cost)


def _origin(device: str, threads: int) -> str:
    """The machine type, processor, torch version and threads, which affect rounding errors."""
    processor = (
        torch.cuda.get_device_name() if device != "cpu" else torch.backends.cpu.get_cpu_capability()
    )
    return f"{platform.machine()} {processor} torch {torch.__version__} threads {threads}"


def _peak_memory(device: str) -> float:
    """Peak memory in MiB. On a CPU, this is the peak memory of the whole process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes per unit of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
