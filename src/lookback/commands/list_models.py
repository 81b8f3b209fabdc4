"""`lookback models [task=NAME]`: every model of conf/model/, as it ships, built for a task."""

import re
from importlib import import_module

from lookback.commands.train_one import prepare
from lookback.data.task import Facts
from lookback.models.base import RecurrentEncoder
from lookback.models.cost import forward_flops
from lookback.models.network import build_network
from lookback.planning.plan import make
from lookback.planning.study import CellConfig, compose_by_hand
from lookback.storage.atomic import read_json
from lookback.storage.paths import PROJECT

HEADER = ("model", "parameters", "FLOPs a step", "step by step", "source")
# Who, the year and the title, as a module's first lines cite a paper.
PAPER = re.compile(
    r"(?:[A-Z][\w'-]+, )*[A-Z][\w'-]+(?: and [A-Z][\w'-]+)?(?: et al\.)? (?:19|20)\d\d, \"[^\"]+\""
)


def list_models(task: str = "digits_pixels") -> None:
    """Print one line a model: parameters, FLOPs of a forward step, whether it steps, its paper.

    FLOPs are those of a sequence of the task's length with one answer, divided by its steps.
    Raises UserError where there is no such task, or where a model cannot be built for it.
    """
    conf = PROJECT / "conf"
    names = sorted(path.stem for path in (conf / "model").glob("*.yaml"))
    studies = {name: compose_by_hand(conf, task, name, 0, ()) for name in names}
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
    """The first paper that the module of a dotted name cites; empty where it cites none."""
    text = " ".join((import_module(target.rpartition(".")[0]).__doc__ or "").split())
    found = PAPER.search(text)
    return found[0] if found else ""
