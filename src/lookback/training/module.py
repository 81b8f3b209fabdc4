"""The Lightning module that trains a network by a recipe, and counts optimiser steps."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from lookback.data.batch import Batch
from lookback.data.task import Facts
from lookback.models.network import Network
from lookback.training.batches import parts_of
from lookback.training.clipping import clip_gradient
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of
from lookback.training.schedule import share_of


class Update(NamedTuple):
    """Loss, gradient norm and learning rate of one optimiser step.

    The loss is the loss of the batch before the weights change. The tensors are not copied to the
    CPU, so that the training loop does not wait for the GPU.
    """

    loss: Tensor
    gradient_norm: Tensor | float  # norm of the whole gradient before clipping
    learning_rate: float


class TrainingModule(pl.LightningModule):
    """Trains a network by a recipe, from the first step or from a saved training state.

    One iteration of Lightning's loop costs half a millisecond or more, so one iteration
    (`training_step`) performs all optimiser steps of a window. This class restores a saved training
    state without Lightning's help, because Lightning's own resuming repeats a batch of a finished
    epoch. A resumed run performs only the remaining steps, and its `step` counts from the start of
    the whole run.

    Before each step, torch's random generator is seeded from the run's seed and the step. So the
    numbers of dropout depend on these two alone, and a saved training state does not need the state
    of the random generator.
    """

    def __init__(
        self,
        network: Network,
        recipe: Mapping[str, Any],
        facts: Facts,
        steps: int,
        seed: int,
        accumulate: int,
        resumed: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.recipe = recipe
        self.facts = facts
        self.steps = steps
        self.seed = seed
        self.accumulate = accumulate
        self.resumed = resumed
        # Number of optimiser steps since the start of the run, including those before a resume.
        self.step = int(resumed["step"]) if resumed else 0
        self.share = share_of(recipe, steps)
        self.weights = list(network.parameters())
        if resumed:
            network.load_state_dict(resumed["network"])

    def training_step(self, window: Iterator[Batch], batch_idx: int) -> dict[str, list[Update]]:
        """Perform the optimiser steps of a window, and stop at the last step of the run."""
        updates: list[Update] = []
        for batch in window:
            if self.trainer.received_sigterm:
                # Without this check, Lightning would react to SIGTERM only after the whole window.
                raise SIGTERMException
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            updates.append(self.update(self.trainer.optimizers[0], batch))
            self.step += 1
            self.trainer.should_stop |= self.step >= self.steps
            if self.trainer.should_stop:
                break
        return {"updates": updates}

    def update(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Update:
        """Perform one optimiser step on `batch` with the settings of the recipe.

        The gradient is the sum over `accumulate` parts of the batch, of which one at a time needs
        memory. The loss is the mean over all queries of the batch, whatever part they are in.
        """
        rate = self.recipe["optimizer"]["lr"] * self.share(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        optimizer.zero_grad()
        queries, losses = (batch.query >= 0).sum(), list[Tensor]()
        for part in parts_of(batch, self.accumulate):
            answers = self.network(part.inputs, part.lengths, part.query)
            loss = answer_loss(
                answers,
                part.query,
                part.target,
                self.facts.kind,
                reduction="sum",
                label_smoothing=self.recipe["label_smoothing"],
            )
            torch.autograd.backward(loss / queries)
            losses.append(loss.detach())
        norm = clip_gradient(self.weights, self.recipe["clip"])
        optimizer.step()
        return Update(torch.stack(losses).sum() / queries, norm, rate)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimiser, with its saved state if the run is resumed."""
        optimizer = optimizer_of(self.recipe, self.network)
        if self.resumed:
            optimizer.load_state_dict(self.resumed["optimizer"])
        return optimizer

    def transfer_batch_to_device(
        self, batch: Iterator[Batch], device: torch.device, index: int
    ) -> Iterator[Batch]:
        """Return `batch` unchanged, because the whole split is already stored on the device."""
        return batch
