"""Prints lines to a stream and, on a terminal, redraws a progress board below the lines.

Between two writes, the terminal cursor is on an empty row above the board. To remove the board, the
terminal is erased from the cursor to the end of the screen. Erasing the board works even if the
rows of the board were wrapped because the terminal became narrower. Output of other processes
starts on the empty row above the board.
"""

import os
import threading
from collections.abc import Callable
from typing import TextIO

# A board is a function from a width and a height, both in characters, to rows of text.
Board = Callable[[int, int], list[str]]

ERASE = "\r\x1b[J"
ERASE_TO_END_OF_ROW = "\x1b[K"
SECONDS_A_FRAME = 0.25


class Screen:
    """Writes the plugin's output to a stream.

    The methods of the class Screen can be called from any thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._frame = ""

    def show(self, board: Board) -> None:
        """Draw the `board` below the printed lines, and redraw it every SECONDS_A_FRAME seconds.

        The redrawing ends when `close` is called.
        """
        threading.Thread(target=self._redraw, args=(board,), daemon=True).start()

    def line(self, text: str) -> None:
        """Print a line above the board."""
        with self._lock:
            self._write((ERASE if self._frame else "") + text + "\n" + self._frame)

    def clear(self) -> None:
        """Erase the board from the terminal until the next redraw."""
        with self._lock:
            self._draw([])

    def close(self) -> None:
        """Erase the board and stop redrawing.

        The method `line` can still print lines after `close`.
        """
        self._closed.set()
        self.clear()

    def _redraw(self, board: Board) -> None:
        while not self._closed.wait(SECONDS_A_FRAME):
            try:
                size = os.get_terminal_size(self._stream.fileno())
                # The lock ensures that no outdated board is drawn after a call of `clear`.
                with self._lock:
                    self._draw(board(size.columns - 1, size.lines - 1))
            except Exception as error:  # an error while drawing must not stop the study
                self.clear()
                self.line(f"lookback: the live board stopped ({error!r}); the study continues.")
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
        """Write a text to the stream, with «?» for each character that the stream cannot encode.

        If the stream is a closed pipe or file, the redrawing of the board stops without an error.
        """
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a closed file
            self._closed.set()
