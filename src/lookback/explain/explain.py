"""Stage `explain`: run one explainer on every seed of a trained model, and score the result.

In each of the first `sequences` test sequences, the stage explains the answer to the last query.
The explained answer is the logit of the predicted class in a classification task, and the first
value of the answer in a regression task. If the inputs are tokens, each token is explained through
its embedding, and F is the width of the embedding.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.errors import NotApplicable
from lookback.explain.base import Explainer, answer, attribution_of, within
from lookback.explain.completeness import LARGEST_GAP
from lookback.explain.controls import controls
from lookback.explain.evidence_scores import evidence_scores
from lookback.explain.scores import Explained, deletion, ranking, scores
from lookback.models.network import Network
from lookback.runtime import cpu_time
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import read_json
from lookback.storage.tables import write_npz, write_parquet
from lookback.training.run import Run, load_runs

BACKGROUND = 64  # Explainers replace inputs by the mean of this many training sequences.


def main(plan: Path, cell: Path, out: Path) -> None:
    """Run the explainer of the plan file `plan` on every trained seed in the folder `cell`.

    The function writes the attributions to `out` (.npz) and their scores to a .scores.parquet file.
    For S seeds and N sequences, `out` holds values (S, N, T, F), output and prediction (S, N),
    inputs (N, T, F) or token ids (N, T, 1), lengths and target (N,), seeds (S,), an empty string
    `reason`, and the name of the baseline, which is empty if the explainer has none. `out` also
    holds error (S, N) and standard_error (S, N, T, F) if the explainer computes them, and the score
    deletion (S, N). If the evidence is known, `out` holds evidence (N, T), each score of
    evidence_scores.py (S, N), and is_right (S, N), which says whether the explained class is the
    target. If the lag is known, `out` holds lag (N,). If the explainer does not apply to the model,
    `out` holds only the seeds and the reason, and the table of scores has one row {seed, reason}
    per seed.

    If the explainer computes the change of the answer, the table has the columns gap, the median
    error as a share of the change, and wide, the share of the sequences whose error is more than
    LARGEST_GAP of that change.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    explainer: Explainer = instantiate(read_json(plan)["explainer"])
    runs = list(load_runs(cell))
    seeds = [run.seed for run in runs]
    try:
        with cpu_time.work():
            arrays, frame = explain(explainer, runs)
    except NotApplicable as reason:
        arrays = {"reason": str(reason)}
        frame = pd.DataFrame({"seed": seeds, "reason": str(reason)})
    plans = {**runs[0].plans, "explain": plan.stem}
    write_npz(out, {"seeds": seeds, **arrays}, plans)
    write_parquet(out.with_suffix(".scores.parquet"), frame, plans)


def explain(explainer: Explainer, runs: list[Run]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Arrays for the output file (without the seeds), and a table of the scores of all runs."""
    # All runs train one model on one task and differ only in the seed, and perhaps in their train
    # sequences. The test split is the same for all of them.
    test, train = runs[0].dataset("test"), runs[0].dataset("train")
    asked = test.batch(slice(explainer.sequences), evidence=True).asked_last()
    arrays_of_runs, frames, baseline = [], [], ""
    for run in runs:
        if run is not runs[0] and "train" in run.task().drawn_per_run:
            train = run.dataset("train")
        arrays, frame, baseline = explain_run(explainer, run, asked, train)
        arrays_of_runs.append(arrays)
        frames.append(frame.assign(seed=run.seed)[["seed", *frame.columns]])
    stacked = {
        name: torch.stack([arrays[name] for arrays in arrays_of_runs]).numpy()
        for name in arrays_of_runs[0]
    }
    shared = {
        "inputs": asked.inputs if asked.inputs.dim() == 3 else asked.inputs.unsqueeze(-1),
        "lengths": asked.lengths,
        "target": asked.target.flatten(1)[:, 0],
        "reason": "",
        "baseline": baseline,
    }
    if asked.evidence is not None:
        shared["evidence"] = asked.evidence[:, 0]
    if asked.lag is not None:
        shared["lag"] = asked.lag[:, 0]
    return {**stacked, **shared}, pd.concat(frames, ignore_index=True)


def explain_run(
    explainer: Explainer, run: Run, asked: Batch, train: SequenceDataset
) -> tuple[Mapping[str, Tensor], pd.DataFrame, str]:
    """Arrays of the attributions and answers of one run, a table of scores, and the baseline."""
    generator = torch.Generator().manual_seed(run.seed)
    batch, background = seen_by(run.model, asked, train, run.seed)
    with torch.no_grad():
        answers = answer(run.model, batch.inputs, batch.lengths, batch.query)
    is_class = run.facts.kind == "class"
    output = answers.argmax(dim=1) if is_class else torch.zeros(len(answers), dtype=torch.int64)
    attribution = attribution_of(
        explainer, run.model, batch, output, background=background, generator=generator
    )
    initial = run.initial()
    untrained = (initial, *seen_by(initial, asked, train, run.seed))
    of_controls = controls(explainer, attribution.values, batch, untrained, output, generator)
    explained = Explained(run.model, batch, run.facts.kind, output, background)
    arrays = {
        "values": attribution.values.float(),
        "output": output,
        "prediction": output if is_class else answers[:, 0],
    }
    if attribution.error is not None:
        arrays["error"] = attribution.error
    if attribution.standard_error is not None:
        arrays["standard_error"] = attribution.standard_error.float()
    if batch.evidence is not None:
        inside = within(batch.lengths, batch.inputs.shape[1])
        arrays |= evidence_scores(attribution.values, batch.evidence[:, 0], inside)
        arrays["is_right"] = explained.is_right()
    arrays["deletion"] = deletion(explained, ranking(attribution.values, explained.kind))
    frame = scores(explained, attribution.values, of_controls, generator)
    if attribution.gap is not None:
        wide = attribution.gap > LARGEST_GAP
        frame = frame.assign(gap=attribution.gap.median().item(), wide=wide.double().mean().item())
    return arrays, frame, attribution.baseline


def seen_by(
    model: Network, asked: Batch, train: SequenceDataset, seed: int
) -> tuple[Batch, Float[Tensor, "sequence time feature"]]:
    """The batch and the background as `model` embeds them, with the background drawn by `seed`."""
    batch = replace(asked, inputs=embedded(model, asked))
    generator = torch.Generator().manual_seed(seed)
    return batch, background_of(model, train, batch.inputs.shape[1], generator)


@torch.no_grad()
def embedded(model: Network, batch: Batch) -> Float[Tensor, "batch time feature"]:
    """The embedded inputs of the encoder, set to zero past the length of each sequence."""
    vectors = model.embed(batch.inputs)
    inside = within(batch.lengths, vectors.shape[1])
    return vectors.masked_fill(~inside.unsqueeze(-1), 0.0)


def background_of(
    model: Network, train: SequenceDataset, time: int, generator: torch.Generator
) -> Float[Tensor, "sequence time feature"]:
    """Embedded random training sequences, cut or padded to `time` steps.

    Shorter sequences are padded with the mean of all embedded steps. Padding with zeros would pull
    the mean of late steps towards zero if the sequences have different lengths.
    """
    drawn = torch.randperm(len(train), generator=generator)[:BACKGROUND]
    batch = train.batch(drawn)
    vectors, inside = embedded(model, batch), within(batch.lengths, batch.inputs.shape[1])
    background = vectors[inside].mean(dim=0).repeat(len(drawn), time, 1)
    kept = min(time, vectors.shape[1])
    kept_steps = inside[:, :kept].unsqueeze(-1)
    background[:, :kept] = torch.where(kept_steps, vectors[:, :kept], background[:, :kept])
    return background
