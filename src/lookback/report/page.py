"""The page as it grows: every table and figure in it is also a file beside it, in full."""

from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from lookback.report.drawing import inline, to_svg
from lookback.report.result_tables import Table
from lookback.storage.atomic import atomic_write, write_text

INLINE = 1_500_000  # characters of figures in the page; further ones are linked: it stays small


@dataclass
class Page:
    """Where the report is written, and what stands in it so far."""

    folder: Path
    written: set[Path] = field(default_factory=set)
    inlined: int = 0

    def table(self, table: Table) -> Table:
        """Write the table as CSV; gives it back to be shown."""
        path = self.folder / "tables" / f"{table.name}.csv"
        with atomic_write(path) as temporary:
            table.frame.to_csv(temporary, index=False)
        self.written.add(path)
        return table

    def figure(self, name: str, label: str, figure: Figure) -> Markup:
        """Write the figure as SVG; gives what stands for it in the page."""
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
        """Remove what an earlier report had and this one has not."""
        for folder in ("tables", "figures"):
            for path in (self.folder / folder).glob("*"):
                if path not in self.written:
                    path.unlink()
