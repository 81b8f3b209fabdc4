"""Stage `report` writes one HTML page that needs no network, with tables as CSV and figures as SVG.

The report is made from the study's plan, summary, attributions and list of MLflow runs. Equal input
files give a byte-equal report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lookback.report import drawing
from lookback.report.card_table import card_table
from lookback.report.control_table import control_tables
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
    metrics_table,
    missing_tables,
    results_table,
    score_tables,
    tuning_table,
)
from lookback.report.theory_section import findings, lag_table, map_table, theory_table
from lookback.report.trust_table import trust_tables
from lookback.report.verdicts import answers
from lookback.storage.atomic import write_json, write_text
from lookback.storage.contents import contents_of
from lookback.storage.study_paths import contents_note
from lookback.summarise.theory import RANKED


class Section(NamedTuple):
    """A section of the page, with figures, tables, a caption and sentences."""

    title: str
    caption: str
    figures: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    sentences: Sequence[str] = ()
    folded: Table | None = None


def main(plan: Path, summary: Path, out: Path) -> None:
    """Write the report of the plan file `plan` to `out`, with tables/ and figures/ beside it."""
    inputs, page = read(plan, summary), Page(out.parent)
    tracked = receipts(inputs)
    missing, does_not_apply = missing_tables(inputs)
    with drawing.style():
        text = template().render(
            study=inputs.study,
            answers=list(answers(inputs)),
            results=[result_section(inputs, page, task, tracked) for task in inputs.study["tasks"]],
            card=card_section(inputs, page),
            theory=theory_section(inputs, page),
            curves=curve_section(inputs, page),
            probes=[probe_section(inputs, page, probe) for probe in inputs.probes],
            explanations=gallery_section(inputs, page),
            scores=[
                page.table(table)
                for tables in (trust_tables, score_tables, control_tables)
                for table in tables(inputs)
            ],
            missing=page.table(missing),
            does_not_apply=page.table(does_not_apply),
            provenance=(made := provenance(inputs)),
            plans=page.table(made.plans),
            digest=inputs.digest,
        )
    write_text(out, text)
    page.forget_others()
    files = contents_of(out.parent, [out, *page.written])
    write_json(contents_note(out), {"plans": {"report": inputs.digest}, "files": files})


def template() -> Template:
    """The template of the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.jinja")


def result_section(
    inputs: ReportInputs, page: Page, task: str, tracked: Sequence[Receipt]
) -> Section:
    """The section on the results of a task, with tables and a figure that shows every seed."""
    tested = inputs.runs[inputs.runs["metric"].str.startswith("test/")]
    seeds = tested.assign(metric=tested["metric"].str.removeprefix("test/"))
    frame = inputs.trained(task).merge(seeds, on=["task", "model", "metric"])
    figures = []
    if len(frame):
        figures.append(page.figure(f"results_{task}", f"Results on {task}", results.draw(frame)))
    tables = [page.table(results_table(inputs, task, tracked))]
    if (inputs.tuning["task"] == task).any():
        tables.append(page.table(tuning_table(inputs, task)))
    others = metrics_table(inputs, task)
    folded = None if others is None else page.table(others)
    return Section(task, caption(results), figures, tables, folded=folded)


def card_section(inputs: ReportInputs, page: Page) -> Section | None:
    """The section on the memory card, or None if the study has no probe that the card uses."""
    if "memory_card" not in inputs.memory:
        return None
    return Section("Memory card", "", tables=[page.table(card_table(inputs))])


def theory_section(inputs: ReportInputs, page: Page) -> Section | None:
    """The section on whether theory predicts the memory horizon, or None if none is measured."""
    if "theory" not in inputs.memory:
        return None
    title = "Does theory predict the memory horizon?"
    card, lags = inputs.memory["memory_card"], inputs.memory["failing_lag"]
    figures, captions = [], []
    if len(lags) and card[RANKED].notna().any(axis=None):
        label = "Theoretical quantities against the horizon"
        figures.append(page.figure("memory_card", label, memory_card.draw(card)))
        captions.append(caption(memory_card))
    if lags["predicted"].notna().any():
        label = "The horizon, predicted and measured"
        figures.append(page.figure("failing_lag", label, failing_lag.draw(lags)))
        captions.append(caption(failing_lag))
    theory = inputs.memory["theory"]
    made = (theory_table(theory), map_table(inputs.memory["theory_map"]), lag_table(lags))
    tables = [page.table(each) for each in made]
    return Section(title, " ".join(captions), figures, tables, list(findings(theory, lags)))


def curve_section(inputs: ReportInputs, page: Page) -> Section:
    """The section on the learning curves of each task.

    The training loss is shown if there is no curve on the validation split.
    """
    history = inputs.history.merge(inputs.results[["task", "model", "metric", "baseline"]])
    on_validation = history[history["split"] == "validation"]
    loss = inputs.history[inputs.history["metric"] == "loss"]
    figures = []
    for task in inputs.history["task"].unique():
        rows = on_validation[on_validation["task"] == task]
        if rows["step"].nunique() < 2:  # a single point is not a curve
            training = loss[(loss["task"] == task) & (loss["split"] == "train")]
            rows = max(rows, training, key=lambda frame: frame["step"].nunique())
        label = f"Learning curves on {task}"
        figures.append(page.figure(f"curves_{task}", label, curves.draw(rows)))
    return Section("Learning curves", caption(curves), figures)


def probe_section(inputs: ReportInputs, page: Page, probe: str) -> Section:
    """The section on a probe, with a figure for each task or else a table of means."""
    frame, module = inputs.probes[probe], figure_module(probe)
    title = f"Probe: {probe.replace('_', ' ')}"
    if frame.empty:
        return Section(title, "There is nothing to show.")
    if module is None:
        return Section(title, "", tables=[page.table(means_table(probe, frame, inputs.sizes))])
    figures = [
        page.figure(f"{probe}_{task}", f"{title} on {task}", module.draw(rows))
        for task, rows in frame.groupby("task", observed=True)
    ]
    return Section(title, caption(module), figures)


def gallery_section(inputs: ReportInputs, page: Page) -> Section:
    """The section with explanations of a few test sequences of each task."""
    figures = [
        page.figure(
            f"explanations_{task}_{place}", frame["title"].iloc[0], explanations.draw(frame)
        )
        for task in inputs.study["tasks"]
        for place, frame in enumerate(sequences(inputs, task))
    ]
    return Section("What the models looked at", caption(explanations), figures)
