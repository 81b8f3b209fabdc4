"""Stage `report`: one page that opens offline, its tables as CSV and its figures as SVG.

Everything is made from the plan, the summary, the attributions and tracking's receipts; the same
files give the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lookback.report import drawing
from lookback.report.card_table import card_table
from lookback.report.figures import curves, explanations, failing_lag, memory_card, results
from lookback.report.gallery import sequences
from lookback.report.inputs import ReportInputs, read
from lookback.report.page import Page
from lookback.report.probe_figures import caption, figure_module
from lookback.report.provenance import provenance
from lookback.report.receipts import Receipt, receipts
from lookback.report.result_tables import (
    Table,
    means_table,
    missing_tables,
    results_table,
    score_tables,
    tuning_table,
)
from lookback.report.theory_section import findings, lag_table, theory_table
from lookback.report.verdicts import answers
from lookback.storage.atomic import write_text


class Section(NamedTuple):
    """What stands together under one heading: figures, tables, and how to read them."""

    title: str
    caption: str
    figures: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    sentences: Sequence[str] = ()


def main(plan: Path, summary: Path, out: Path) -> None:
    """Write the report of the study of `plan` to `out`, with tables/ and figures/ beside it."""
    material, page = read(plan, summary), Page(out.parent)
    tracked = receipts(material)
    missing, does_not_apply = missing_tables(material)
    with drawing.style():
        text = template().render(
            study=material.study,
            answers=list(answers(material)),
            results=[
                result_section(material, page, task, tracked) for task in material.study["tasks"]
            ],
            card=card_section(material, page),
            theory=theory_section(material, page),
            curves=curve_section(material, page),
            probes=[probe_section(material, page, probe) for probe in material.probes],
            explanations=gallery_section(material, page),
            scores=[page.table(table) for table in score_tables(material)],
            missing=page.table(missing),
            does_not_apply=page.table(does_not_apply),
            provenance=(made := provenance(material)),
            plans=page.table(made.plans),
            digest=material.digest,
        )
    write_text(out, text)
    page.forget_others()


def template() -> Template:
    """The page's template; its style stands beside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.jinja")


def result_section(
    material: ReportInputs, page: Page, task: str, tracked: Sequence[Receipt]
) -> Section:
    """What was reached on a task: a table, and the same as a figure with every seed."""
    tested = material.runs[material.runs["metric"].str.startswith("test/")]
    seeds = tested.assign(metric=tested["metric"].str.removeprefix("test/"))
    frame = material.reached(task).merge(seeds, on=["task", "model", "metric"])
    figures = []
    if len(frame):
        figures.append(page.figure(f"results_{task}", f"Results on {task}", results.draw(frame)))
    tables = [page.table(results_table(material, task, tracked))]
    if (material.tuning["task"] == task).any():
        tables.append(page.table(tuning_table(material, task)))
    return Section(task, caption(results), figures, tables)


def card_section(material: ReportInputs, page: Page) -> Section | None:
    """The memory card; none where no probe of the study asks for it."""
    if "memory_card" not in material.memory:
        return None
    return Section("Memory card", "", tables=[page.table(card_table(material))])


def theory_section(material: ReportInputs, page: Page) -> Section | None:
    """What the card says of the theory; none where the study measures no horizon."""
    if "theory" not in material.memory:
        return None
    title = "Do the theory's numbers predict the behaviour?"
    card, lags = material.memory["memory_card"], material.memory["failing_lag"]
    figures, captions = [], []
    if len(lags) and card[list(memory_card.FIGURES)].notna().any(axis=None):
        label = "Theoretical figures against the horizon"
        figures.append(page.figure("memory_card", label, memory_card.draw(card)))
        captions.append(caption(memory_card))
    if lags["predicted"].notna().any():
        label = "The failing lag, predicted and found"
        figures.append(page.figure("failing_lag", label, failing_lag.draw(lags)))
        captions.append(caption(failing_lag))
    theory = material.memory["theory"]
    tables = [page.table(theory_table(theory)), page.table(lag_table(lags))]
    return Section(title, " ".join(captions), figures, tables, list(findings(theory, lags)))


def curve_section(material: ReportInputs, page: Page) -> Section:
    """The learning curves of each task on validation; where that is none, the training loss."""
    history = material.history.merge(material.results[["task", "model", "metric", "baseline"]])
    on_validation = history[history["split"] == "validation"]
    loss = material.history[material.history["metric"] == "loss"]
    figures = []
    for task in material.history["task"].unique():
        own = on_validation[on_validation["task"] == task]
        if own["step"].nunique() < 2:  # a point is no curve
            training = loss[(loss["task"] == task) & (loss["split"] == "train")]
            own = max(own, training, key=lambda frame: frame["step"].nunique())
        label = f"Learning curves on {task}"
        figures.append(page.figure(f"curves_{task}", label, curves.draw(own)))
    return Section("Learning curves", caption(curves), figures)


def probe_section(material: ReportInputs, page: Page, probe: str) -> Section:
    """What a probe measured: its own figure for each task, or a table of means."""
    frame, module = material.probes[probe], figure_module(probe)
    title = f"Probe: {probe.replace('_', ' ')}"
    if frame.empty:
        return Section(title, "Nothing to show.")
    if module is None:
        return Section(title, "", tables=[page.table(means_table(probe, frame, material.sizes))])
    figures = [
        page.figure(f"{probe}_{task}", f"{title} on {task}", module.draw(own))
        for task, own in frame.groupby("task", observed=True)
    ]
    return Section(title, caption(module), figures)


def gallery_section(material: ReportInputs, page: Page) -> Section:
    """The explanations of a few test sequences of each task."""
    figures = [
        page.figure(
            f"explanations_{task}_{place}", frame["title"].iloc[0], explanations.draw(frame)
        )
        for task in material.study["tasks"]
        for place, frame in enumerate(sequences(material, task))
    ]
    return Section("What the models looked at", caption(explanations), figures)
