"""Lines on a stream, and on a terminal a board below them that is redrawn in place.

The cursor rests on an empty row above the board, so clearing is «erase from here on»: right in
every terminal, even after a resize has wrapped the board's rows; and what others write to the
terminal lands on a row of its own.
"""

import os
import threading
from collections.abc import Callable
from typing import TextIO

Board = Callable[[int, int], list[str]]  # (width, height) in characters -> rows

ERASE = "\r\x1b[J"
ERASE_TO_END_OF_ROW = "\x1b[K"
SECONDS_A_FRAME = 0.25


class Screen:
    """Where the plugin writes; its methods may be called from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._frame = ""

    def show(self, board: Board) -> None:
        """Draw `board` below the lines, again and again until `close`."""
        threading.Thread(target=self._redraw, args=(board,), daemon=True).start()

    def line(self, text: str) -> None:
        """Write a line above the board."""
        with self._lock:
            self._write((ERASE if self._frame else "") + text + "\n" + self._frame)

    def clear(self) -> None:
        """Take the board away until it is drawn again."""
        with self._lock:
            self._draw([])

    def close(self) -> None:
        """Take the board away for good; lines can still be written."""
        self._closed.set()
        self.clear()

    def _redraw(self, board: Board) -> None:
        while not self._closed.wait(SECONDS_A_FRAME):
            try:
                size = os.get_terminal_size(self._stream.fileno())
                with self._lock:  # held while the board looks: what it shows is never outdated
                    self._draw(board(size.columns - 1, size.lines - 1))
            except Exception as error:  # a fault of the board must not stop a study
                self.clear()
                self.line(f"lookback: the live board stopped ({error!r}); the study runs on.")
                return

    def _draw(self, rows: list[str]) -> None:
        if rows and not self._closed.is_set():
            below = "".join(f"\n{row}{ERASE_TO_END_OF_ROW}" for row in rows)
            self._frame = f"\r{ERASE_TO_END_OF_ROW}{below}\x1b[J\r\x1b[{len(rows)}A"
            self._write(self._frame)
        elif self._frame:
            self._frame = ""
            self._write(ERASE)

    def _write(self, text: str) -> None:
        """Write what the stream's encoding can hold; a reader that went away is not our fault."""
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a closed file
            self._closed.set()
