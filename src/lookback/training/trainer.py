"""Runs training steps with Lightning, without Lightning's logs, checkpoints and progress bar."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from lookback.data.batch import Batch
from lookback.training.module import TrainingModule


def fit(
    module: TrainingModule,
    windows: Iterable[Iterator[Batch]],
    trainer: Mapping[str, Any],
    device: str,
    callbacks: list[pl.Callback],
) -> None:
    """Train the network of `module` on windows of batches, until `module` stops the training.

    `trainer` holds the trainer's settings. Raises KeyboardInterrupt after Ctrl-C.
    """
    try:
        trainer_of(device, trainer, callbacks).fit(module, windows)
    except SystemExit:  # Lightning converts Ctrl-C (KeyboardInterrupt) to SystemExit
        raise KeyboardInterrupt from None


def quieten_lightning() -> None:
    """Silence Lightning's messages about devices, data loaders and Lightning's other products."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


def trainer_of(device: str, trainer: Mapping[str, Any], callbacks: list[pl.Callback]) -> pl.Trainer:
    """A Lightning trainer without Lightning's logging, checkpoints and progress bar.

    The trainer has no limit of epochs, because `TrainingModule` and `Validate` stop the training.
    """
    return pl.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1,
        # Without LightningEnvironment, Lightning could read SLURM's number of processes.
        plugins=[LightningEnvironment()],
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
