"""`lookback models [task=NAME]`: list every model of conf/model/, built for a task."""

import re
from importlib import import_module

from lookback.commands.train_one import prepare
from lookback.data.task import Facts
from lookback.models.base import RecurrentEncoder
from lookback.models.cost import forward_flops
from lookback.models.network import build_network
from lookback.planning.plan import make
from lookback.planning.references import KEY, citation
from lookback.planning.study import CellConfig, compose_by_hand
from lookback.storage.atomic import read_json
from lookback.storage.lock import use_plans
from lookback.storage.paths import PROJECT

HEADER = ("model", "parameters", "FLOPs per step", "step by step", "source")


def list_models(task: str = "digits_pixels") -> None:
    """Print one line per model: parameters, FLOPs per time step, step-by-step mode, paper.

    FLOPs per step are the FLOPs of one forward pass over a sequence with one query, divided by the
    length of the sequence. The column «step by step» tells whether the model can read a sequence
    one time step at a time. Raises UserError if the task does not exist, or if a model cannot be
    built for the task.
    """
    conf = PROJECT / "conf"
    names = sorted(path.stem for path in (conf / "model").glob("*.yaml"))
    studies = {name: compose_by_hand(conf, task, name, 0, ()) for name in names}
    with use_plans():
        prepared = prepare(read_json(make(PROJECT, studies[names[0]])), task)
    facts = Facts.from_dict(read_json(prepared.facts))
    cells = {name: study.cells[task, name] for name, study in studies.items()}
    print(f"At the sizes of conf/model/, for {task} ({facts.length} steps):\n")
    rows = [HEADER, *((name, *_row(cell, facts)) for name, cell in cells.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, parameters, flops, step, source in rows:
        print(
            f"{name:<{widths[0]}}  {parameters:>{widths[1]}}  {flops:>{widths[2]}}  "
            f"{step:<{widths[3]}}  {source}"
        )


def _row(cell: CellConfig, facts: Facts) -> tuple[str, str, str, str]:
    """The table row of one model as text, without the model's name."""
    network = build_network(cell.model, cell.recipe["initialisation"], facts, seed=0)
    encoder = network.encoder
    steps = isinstance(encoder, RecurrentEncoder) and not encoder.bidirectional
    return (
        f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        f"{forward_flops(network, facts) / facts.length:,.0f}",
        "yes" if steps else "no",
        source_of(str(cell.model["_target_"])),
    )


def source_of(target: str) -> str:
    """The first paper that is cited in the docstring of the module of `target`.

    The result is empty if the docstring cites no paper.
    """
    docstring = import_module(target.rpartition(".")[0]).__doc__ or ""
    key = re.search(rf"\[({KEY.pattern})\]", docstring)
    return citation(key[1]) if key else ""
