"""How the gradient fades: ln ‖∂L/∂h_t‖ and ln ‖∂s_q/∂s_t‖₂ by distance, q − t, q the query.

Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", eq. 5.

L is the task's loss at the last query of a sequence, summed over sequences, so that each sequence
has the gradient of its own loss. ∂L/∂h_t is total: through all later steps and all layers above.

Everything is done in float64, and the norm is scaled by its largest part: a plain network that
halves its gradient at each step leaves float32 after 130 steps, float64 after 1,020. A gradient
past even that is exactly zero and has no logarithm: it counts as the smallest of all.

∂s_q/∂s_t, of the whole state s that a recurrence carries, knows no loss: its spectral norm is the
most that any change at t can still do at q. jacobians.py multiplies it in log space.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.errors import NotApplicable
from lookback.models.network import Network
from lookback.probes.jacobians import jacobians, log_spectral_norms, recurrence, trajectory
from lookback.probes.precision import in_float64
from lookback.runtime.settings import require_positive
from lookback.training.loss import answer_loss
from lookback.training.run import Run

STEPS_AT_ONCE = 16_384  # sequences × time in one batch: bounds the memory of the kept graph
DISTANCES = 32  # at which a Jacobian's norm is taken, evenly spaced in their logarithm


class GradientFlow:
    """Median and quartiles over sequences, by distance; before training and after.

    `sequences` of the test split for the gradient; for the Jacobian, which costs a backward pass
    and a product of matrices a step, as many whole sequences as have `jacobian_steps` together,
    at least one.
    """

    def __init__(self, sequences: int, jacobian_steps: int):
        require_positive("probe", sequences=sequences, jacobian_steps=jacobian_steps)
        self.sequences = sequences
        self.jacobian_steps = jacobian_steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """One row per stage, quantity, state and distance.

        Columns: stage ("initial", "trained"), quantity ("gradient"; "jacobian", of a recurrence in
        one direction), state ("hidden/0", …; of a Jacobian "state"), distance in steps, log_norm
        (natural logarithm, median over sequences), low, high (quartiles), vanished (the share of
        sequences whose gradient is exactly zero). A quantile that falls on a zero, or on an
        overflow, is NaN. Quantiles and not a mean, since one vanished gradient has the logarithm
        −∞; and not a row per sequence, since the files would be as large as the data.
        """
        dataset = run.task().dataset("test")
        stages = {"initial": run.initial(), "trained": deepcopy(run.model)}
        frames = []
        for stage, network in stages.items():
            norms = self._norms(network.double(), dataset, run.facts.kind)
            frames += [
                quartiles(of_state).assign(stage=stage, quantity="gradient", state=state)
                for state, of_state in norms.items()
            ]
            if (frame := self._jacobian(network, dataset)) is not None:
                frames.append(frame.assign(stage=stage, quantity="jacobian", state="state"))
        if not frames:
            raise NotApplicable(f"{type(run.model.encoder).__name__} has no states over time")
        order = ["stage", "quantity", "state", "distance", "log_norm", "low", "high", "vanished"]
        return pd.concat(frames, ignore_index=True)[order]

    def _jacobian(self, network: Network, dataset: SequenceDataset) -> pd.DataFrame | None:
        """Quartiles of ln ‖∂s_q/∂s_t‖₂, q the last query; None where no state is carried."""
        try:
            encoder = recurrence(network)
        except NotApplicable:
            return None
        distances = spaced(dataset.inputs.shape[1] - 1)
        norms, left = list[Tensor](), self.jacobian_steps
        for inputs, query in zip(dataset.inputs, dataset.query.amax(dim=1).tolist(), strict=True):
            if norms and query + 1 > left:
                break
            left -= query + 1
            with torch.no_grad():
                embedded = network.embed(in_float64(inputs[None, : query + 1]))[0]
            states = trajectory(encoder, embedded)
            # The state after the first step is the earliest: no Jacobian of that step.
            back = jacobians(encoder, embedded[1:], states[1:], backwards=True)
            norms.append(log_spectral_norms(back, distances))
        frame = quartiles(torch.stack(norms))
        return frame.assign(distance=np.array(distances)[frame["distance"]])

    def _norms(
        self, network: Network, dataset: SequenceDataset, kind: Literal["class", "value"]
    ) -> dict[str, Float[Tensor, "batch distance"]]:
        parts = [log_norms(network, batch, kind) for batch in self._batches(dataset)]
        return {state: torch.cat([part[state] for part in parts]) for state in parts[0]}

    def _batches(self, dataset: SequenceDataset) -> Iterator[Batch]:
        end = min(self.sequences, len(dataset))
        size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
        for start in range(0, end, size):
            batch = dataset.batch(slice(start, min(start + size, end))).asked_last()
            yield replace(batch, inputs=in_float64(batch.inputs), target=in_float64(batch.target))


def spaced(farthest: int) -> list[int]:
    """0, 1 and on to `farthest`, evenly spaced in their logarithm."""
    steps = np.geomspace(1, max(1, farthest), DISTANCES).round().astype(int)
    return [distance for distance in (0, *np.unique(steps).tolist()) if distance <= farthest]


def log_norms(
    network: Network, batch: Batch, kind: Literal["class", "value"]
) -> dict[str, Float[Tensor, "batch distance"]]:
    """The logarithm of ‖∂L/∂state‖ by state; column d holds the step d before the query (Q = 1).

    NaN where the sequence has no such step, −∞ where the gradient is zero. One forward and one
    backward pass, in the precision of network and batch.
    """
    answers, trace = network.trace(batch.inputs, batch.lengths, batch.query, differentiable=True)
    loss = answer_loss(answers, batch.query, batch.target, kind, reduction="sum")
    step = batch.query - torch.arange(batch.inputs.shape[1])
    return {
        state: log_norm(gradient).gather(1, step.clamp(min=0)).masked_fill(step < 0, torch.nan)
        for state, gradient in trace.gradients(loss).items()
    }


def log_norm(vectors: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
    """The logarithm of ‖v‖ as ln m + ½ ln Σ (v/m)², m the largest part: no square underflows."""
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    scalable = largest.isfinite() & (largest > 0)
    scaled = torch.where(scalable, vectors / largest, 1.0)
    return largest.squeeze(-1).log() + scaled.square().sum(dim=-1).log() / 2


def quartiles(norms: Float[Tensor, "batch distance"]) -> pd.DataFrame:
    """Columns distance, log_norm, low, high, vanished, over those distances that exist."""
    exists = ~norms.isnan().all(dim=0)
    norms = norms[:, exists]
    # «nearest» takes one of the values: to interpolate from −∞ has no meaning.
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=norms.dtype)
    low, middle, high = torch.nanquantile(norms, levels, dim=0, interpolation="nearest")
    zero = (norms == -torch.inf).double().sum(dim=0) / (~norms.isnan()).sum(dim=0)
    columns = {"log_norm": middle, "low": low, "high": high}
    finite = {name: column.where(column.isfinite(), torch.nan) for name, column in columns.items()}
    return pd.DataFrame({"distance": exists.nonzero().squeeze(1), **finite, "vanished": zero})
