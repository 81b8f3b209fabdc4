"""Reports made once and looked at by many tests."""

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from lookback.report import report
from lookback.storage.atomic import read_json, write_json
from lookback.storage.tables import read_parquet, write_parquet
from lookback.summarise import summarise
from tests.fake_study import change_plan, write_study

PUBLISHED = {"task": "digits_rows", "model": "lstm", "metric": "accuracy", "value": 0.98127}
RUN = "5a" * 16


@dataclass
class Made:
    """A report and what it was made from."""

    plan: Path
    page: Path
    text: str

    @property
    def tables(self) -> list["Shown"]:
        """The tables of the page, in its order."""
        reader = Reader()
        reader.feed(self.text)
        return reader.tables

    def table(self, head: str, place: int = 0) -> "Shown":
        """A table by the name of one of its columns."""
        return [table for table in self.tables if head in table[0]][place]

    def csv(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.page.parent / "tables" / f"{name}.csv")


Shown = list[list[str]]


class Reader(HTMLParser):
    """The tables of a page as text, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Shown] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True
        if tag == "small":
            self.handle_data(" | ")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.tables[-1][-1][-1] += data


def make(plan: Path) -> Made:
    """Summarise a study and report it."""
    folder = plan.parents[2] / "quick"
    summarise.main(plan, folder / "summary")
    page = folder / "report" / "index.html"
    plan = change_plan(plan, "report")
    report.main(plan, folder / "summary", page)
    return Made(plan, page, page.read_text(encoding="utf-8"))


TOKEN = "t0ken-93ae"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A complete study with a published figure and a receipt of tracking."""
    plan = write_study(
        tmp_path_factory.mktemp("whole"), published=[PUBLISHED | {"source": "Keras"}]
    )
    track = change_plan(plan, "track")
    # As an older version of lookback wrote it, with a token in the URI.
    tracked = {"plans": {"track": track.stem}, "experiment_id": "3"}
    tracked["uri"] = f"http://{TOKEN}@127.0.0.1:5000"
    runs = {cell: {"parent": RUN, "seeds": {}} for cell in read_json(plan)["cells"]}
    folder = plan.parents[2] / "quick" / "tracked"
    write_json(folder / "server.json", {**tracked, "runs": runs})
    older = {**tracked, "plans": {"track": "0" * 16}, "uri": "sqlite:///older.db"}
    write_json(folder / "older.json", {**older, "runs": runs})
    (folder / "damaged.json").write_text('{"plans":')
    return make(plan)


@pytest.fixture(scope="session")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One task, overridden: a model failed, nothing was validated, a probe has no figure."""
    plan = write_study(
        tmp_path_factory.mktemp("torn"),
        tasks=("adding",),
        probes={"elsewhere": {"_target_": "another.package.Probe"}},
        overrides=["trainer.max_steps=7"],
        notices=["recipe.initialisation.unit=layer has no effect on rnn."],
    )
    folder = plan.parents[2] / "quick" / "adding"
    (folder / "lstm" / "metrics.json").unlink()
    log = folder / "lstm" / "log" / "train.log"
    log.parent.mkdir()
    log.write_text("lookback: the <data> are gone.\n")
    for cell, expected in read_json(plan)["cells"].items():
        frame = pd.DataFrame({"seed": [0, 1, 2], "span": [10.0, 20.0, 31.5], "kind": "a"})
        own = folder / cell.partition("/")[2]
        write_parquet(own / "probe" / "elsewhere.parquet", frame, expected["probe"]["elsewhere"])
        history = read_parquet(own / "history.parquet")
        kept = history[history["split"] == "train"]
        write_parquet(own / "history.parquet", kept, expected["train"])
    return make(plan)
