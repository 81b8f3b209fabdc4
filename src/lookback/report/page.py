"""Collect the tables and figures of the report page, and write each to its own file."""

from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from lookback.report.drawing import inline, to_svg
from lookback.report.result_tables import Table
from lookback.storage.atomic import atomic_write, write_text

INLINE = 1_500_000  # maximum total size, in characters, of the figures inside the page


@dataclass
class Page:
    """The folder of the report, and the files that were written to it so far."""

    folder: Path
    written: set[Path] = field(default_factory=set)
    inlined: int = 0

    def table(self, table: Table) -> Table:
        """Write the table to a CSV file, and return the table."""
        path = self.folder / "tables" / f"{table.name}.csv"
        with atomic_write(path) as temporary:
            table.frame.to_csv(temporary, index=False)
        self.written.add(path)
        return table

    def figure(self, name: str, label: str, figure: Figure) -> Markup:
        """Write the figure to an SVG file, and return its HTML element or a link.

        The result is a link if the total size of the figures in the page would exceed INLINE.
        """
        path = self.folder / "figures" / f"{name}.svg"
        svg = to_svg(figure, name)
        write_text(path, svg)
        self.written.add(path)
        if self.inlined + len(svg) > INLINE:
            link = Markup('<a href="figures/{}">{} (a file beside this page)</a>')
            return link.format(path.name, label)
        self.inlined += len(svg)
        return inline(svg, label)

    def forget_others(self) -> None:
        """Delete the tables and figures that an earlier report wrote and this report did not."""
        for folder in ("tables", "figures"):
            for path in (self.folder / folder).glob("*"):
                if path not in self.written:
                    path.unlink()
