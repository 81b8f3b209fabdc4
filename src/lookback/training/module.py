"""The training of one seed as Lightning sees it: one step of the recipe, and where it stands."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from lookback.data.batch import Batch
from lookback.data.task import Facts
from lookback.models.network import Network
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of, share_of


class Update(NamedTuple):
    """One step: the loss of its batch, and the update that followed it.

    The tensors stay on the device, so that nothing waits for it.
    """

    loss: Tensor
    gradient_norm: Tensor | float  # before clipping
    learning_rate: float


class TrainingModule(pl.LightningModule):
    """A network under a recipe, from its first step or from a resume state.

    Lightning's loop costs half a millisecond and more each time round, so it goes round once for a
    window of steps, and each step is our own few lines.
    Lightning's own resuming repeats a batch of an epoch that had ended, so it is not used: a
    resumed run is one of the remaining steps; `epoch` and `step` count from the whole run's start.
    """

    def __init__(
        self,
        network: Network,
        recipe: Mapping[str, Any],
        facts: Facts,
        steps: int,
        resumed: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.recipe = recipe
        self.facts = facts
        self.steps = steps
        self.resumed = resumed
        self.step = int(resumed["step"]) if resumed else 0  # optimiser steps of the whole run
        self.share = share_of(recipe, steps)
        self.weights = list(network.parameters())
        if resumed:
            network.load_state_dict(resumed["network"])

    @property
    def epoch(self) -> int:
        """The epoch of the whole run, from 0."""
        return int(self.resumed["epoch"] if self.resumed else 0) + self.trainer.current_epoch

    def training_step(self, window: Iterator[Batch], batch_idx: int) -> dict[str, list[Update]]:
        """All steps of a window; the run's last step ends it early."""
        updates: list[Update] = []
        for batch in window:
            if self.trainer.received_sigterm:
                raise SIGTERMException  # Lightning itself would wait for the end of the window
            updates.append(self.update(self.trainer.optimizers[0], batch))
            self.step += 1
            self.trainer.should_stop |= self.step >= self.steps
            if self.trainer.should_stop:
                break
        return {"updates": updates}

    def update(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Update:
        """One step of the recipe."""
        rate = self.recipe["optimizer"]["lr"] * self.share(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        answers = self.network(batch.inputs, batch.lengths, batch.query)
        loss = answer_loss(
            answers,
            batch.query,
            batch.target,
            self.facts.kind,
            label_smoothing=self.recipe["label_smoothing"],
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = clipped(self.weights, self.recipe["clip"])
        optimizer.step()
        return Update(loss.detach(), norm, rate)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimiser, as a kill left it."""
        optimizer = optimizer_of(self.recipe, self.network)
        if self.resumed:
            optimizer.load_state_dict(self.resumed["optimizer"])
        return optimizer

    def transfer_batch_to_device(
        self, batch: Iterator[Batch], device: torch.device, index: int
    ) -> Iterator[Batch]:
        """The data lie on the device already."""
        return batch


def clipped(weights: list[nn.Parameter], largest: float | None) -> Tensor:
    """Scale the gradient down to the norm `largest`, if one is given; its norm before.

    Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 3.2.
    """
    if largest is not None:
        return nn.utils.clip_grad_norm_(weights, largest)
    return nn.utils.get_total_norm([it.grad for it in weights if it.grad is not None])
