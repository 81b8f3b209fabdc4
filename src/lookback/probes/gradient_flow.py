"""Gradient flow: ln ‖∂L/∂h_t‖ and ln ‖∂s_q/∂s_t‖₂ by the distance q − t from the query step q.

The probe measures how gradients shrink with the distance from the query step, following equation 5
of [pascanu2013].

L is the sum over sequences of the task's loss at the last query of each sequence. L is a sum
instead of a mean, so that ∂L/∂h_t of a sequence is the gradient of this sequence's own loss.
∂L/∂h_t is the total derivative, in which the gradient flows through all later steps and all higher
layers.

∂s_q/∂s_t is the Jacobian of the whole state s of a recurrent network and does not depend on the
loss. The spectral norm ‖∂s_q/∂s_t‖₂ is the largest factor by which a small change of the state at
step t grows until step q. jacobians.py rescales the product of the Jacobians at each step.

All computations use float64, and `log_norm` divides each vector by its largest component, so that
squares do not underflow. If a recurrent network halves its gradient at each step, the gradient
underflows in float32 after 130 steps and in float64 after 1,020 steps. A gradient that underflows
in float64 is exactly zero and has no logarithm. In the quantiles over sequences, a gradient of zero
counts as smaller than all other gradients.
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

STEPS_AT_ONCE = 16_384  # Maximum of sequences × time steps in one batch, to limit memory.
DISTANCES = 32  # Maximum number of distances above 0 at which the Jacobian is measured.


class GradientFlow:
    """Quartiles over sequences of the gradient norm at each distance, before and after training.

    The gradient is measured on the first `sequences` test sequences. The Jacobian is measured on
    the first test sequences that have at most `jacobian_steps` steps in total, and always on at
    least one sequence. The number of sequences is smaller for the Jacobian than for the gradient,
    because the Jacobian needs a backward pass and a matrix product for each step.
    """

    def __init__(self, sequences: int, jacobian_steps: int):
        require_positive("probe", sequences=sequences, jacobian_steps=jacobian_steps)
        self.sequences = sequences
        self.jacobian_steps = jacobian_steps

    def measure(self, run: Run, *, generator: torch.Generator) -> pd.DataFrame:
        """Quartiles over sequences, before and after training, by quantity, state and distance.

        Columns:
            stage: "initial" (before training) or "trained".
            quantity: "gradient" or "jacobian"; "jacobian" only for a recurrence in one direction.
            state: key of the state («hidden/0»); "state" (the whole state) for a Jacobian.
            distance: steps from the state to the query.
            log_norm: natural logarithm of the norm, median over sequences (no unit).
            low: lower quartile of the same logarithm (no unit).
            high: upper quartile of the same logarithm (no unit).
            vanished: share of sequences whose gradient or Jacobian is exactly zero, 0 to 1.

        A quartile in the table is NaN if the norm is zero or overflows. The table has quartiles
        instead of means, because a single gradient of zero would make the mean of the logarithms
        −∞. The table has no rows for single sequences, because the file of the table would then be
        as large as the data set.

        Raises NotApplicable if the model does not compute a state for each time step.
        """
        dataset = run.dataset("test")
        stages = {"initial": run.initial(), "trained": deepcopy(run.model)}
        frames = []
        for stage, network in stages.items():
            norms_by_state = self._log_norms(network.double(), dataset, run.facts.kind)
            frames += [
                quartiles(norms).assign(stage=stage, quantity="gradient", state=state)
                for state, norms in norms_by_state.items()
            ]
            if (frame := self._jacobian(network, dataset)) is not None:
                frames.append(frame.assign(stage=stage, quantity="jacobian", state="state"))
        if not frames:
            raise NotApplicable(f"{type(run.model.encoder).__name__} has no states over time")
        order = ["stage", "quantity", "state", "distance", "log_norm", "low", "high", "vanished"]
        return pd.concat(frames, ignore_index=True)[order]

    def _jacobian(self, network: Network, dataset: SequenceDataset) -> pd.DataFrame | None:
        """Table of quartiles of ln ‖∂s_q/∂s_t‖₂ over sequences, with one row per distance.

        Returns None if the network has no recurrent encoder or if that encoder is bidirectional.
        """
        try:
            encoder = recurrence(network)
        except NotApplicable:
            return None
        distances = spaced(dataset.inputs.shape[1] - 1)
        norms, steps_left = list[Tensor](), self.jacobian_steps
        for row, query in enumerate(dataset.query.amax(dim=1).tolist()):
            if norms and query + 1 > steps_left:
                break
            steps_left -= query + 1
            with torch.no_grad():
                inputs = dataset.batch(slice(row, row + 1)).inputs[:, : query + 1]
                embedded = network.embed(in_float64(inputs))[0]
            states = trajectory(encoder, embedded)
            # The earliest measured state is s_1, so the first Jacobian ∂s_1/∂s_0 is not needed.
            backward_jacobians = jacobians(encoder, embedded[1:], states[1:], backwards=True)
            norms.append(log_spectral_norms(backward_jacobians, distances))
        frame = quartiles(torch.stack(norms))
        return frame.assign(distance=np.array(distances)[frame["distance"]])

    def _log_norms(
        self, network: Network, dataset: SequenceDataset, kind: Literal["class", "value"]
    ) -> dict[str, Float[Tensor, "batch distance"]]:
        """For each state key, ln of the gradient norms of all measured sequences."""
        parts = [log_norms(network, batch, kind) for batch in self._batches(dataset)]
        return {state: torch.cat([part[state] for part in parts]) for state in parts[0]}

    def _batches(self, dataset: SequenceDataset) -> Iterator[Batch]:
        end = min(self.sequences, len(dataset))
        size = max(1, STEPS_AT_ONCE // dataset.inputs.shape[1])
        for start in range(0, end, size):
            batch = dataset.batch(slice(start, min(start + size, end))).asked_last()
            yield replace(batch, inputs=in_float64(batch.inputs), target=in_float64(batch.target))


def spaced(farthest: int) -> list[int]:
    """Distance 0 and up to DISTANCES distances from 1 to `farthest`, evenly spaced in log scale."""
    steps = np.geomspace(1, max(1, farthest), DISTANCES).round().astype(int)
    return [distance for distance in (0, *np.unique(steps).tolist()) if distance <= farthest]


def log_norms(
    network: Network, batch: Batch, kind: Literal["class", "value"]
) -> dict[str, Float[Tensor, "batch distance"]]:
    """For each state key, the natural logarithm of the gradient norm ‖∂L/∂state‖ at each distance.

    `batch` has one query per sequence (Q = 1). Column d of the result belongs to the step that is d
    steps before the query. A logarithm is NaN if the sequence has no step d steps before the query,
    and −∞ if the gradient is zero. The function makes one forward and one backward pass, in the
    floating-point precision of `network` and `batch`.
    """
    answers, trace = network.trace(batch.inputs, batch.lengths, batch.query, differentiable=True)
    loss = answer_loss(answers, batch.query, batch.target, kind, reduction="sum")
    step = batch.query - torch.arange(batch.inputs.shape[1])
    return {
        state: log_norm(gradient).gather(1, step.clamp(min=0)).masked_fill(step < 0, torch.nan)
        for state, gradient in trace.gradients(loss).items()
    }


def log_norm(vectors: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape"]:
    """Natural logarithm of the norm of each vector v, computed so that squares do not underflow.

    The formula is ln ‖v‖ = ln m + ½ ln Σ (v/m)², with m the largest absolute component of v.
    """
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    scalable = largest.isfinite() & (largest > 0)
    scaled = torch.where(scalable, vectors / largest, 1.0)
    return largest.squeeze(-1).log() + scaled.square().sum(dim=-1).log() / 2


def quartiles(norms: Float[Tensor, "batch distance"]) -> pd.DataFrame:
    """Table of quartiles of `norms` over sequences, for each distance with at least one norm.

    Columns:
        distance: steps, the column index in `norms`.
        log_norm, low, high: median and quartiles of `norms` (natural logarithms, no unit).
        vanished: share of sequences whose norm is zero, 0 to 1.
    """
    exists = ~norms.isnan().all(dim=0)
    norms = norms[:, exists]
    # A logarithm can be −∞, so «nearest» takes an existing value instead of interpolating.
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=norms.dtype)
    low, middle, high = torch.nanquantile(norms, levels, dim=0, interpolation="nearest")
    vanished = (norms == -torch.inf).double().sum(dim=0) / (~norms.isnan()).sum(dim=0)
    columns = {"log_norm": middle, "low": low, "high": high}
    finite = {name: column.where(column.isfinite(), torch.nan) for name, column in columns.items()}
    return pd.DataFrame({"distance": exists.nonzero().squeeze(1), **finite, "vanished": vanished})
