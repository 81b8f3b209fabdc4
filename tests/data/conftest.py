"""Fixtures: a real server on loopback with the faults of mirrors, and the shipped configs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lookback.data import download
from lookback.storage.atomic import write_json


@dataclass
class Mirror:
    """A server of one file, with a choice of faults."""

    content: bytes
    status: int = 200  # any other status is the response to every request
    ranges: bool = True  # whether it understands Range
    range_shift: int = 0  # how far from the asked byte it starts
    cut_after: int | None = None  # bytes until it closes the connection
    pause_after: int | None = None  # bytes until it falls silent
    trickle: bool = False  # sends one byte at a time without end
    flood: bool = False  # sends far more bytes than the file has
    sent: int = 0  # bytes of floods
    address: str = ""
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    stopped: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET."""
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if self.status != 200:
            return request.send_error(self.status)
        if wanted and self.ranges and start >= len(self.content):
            return request.send_error(416)
        partial = bool(wanted) and self.ranges
        body = self.content[start + self.range_shift :] if partial else self.content
        request.send_response(206 if partial else 200)
        request.send_header(
            "Content-Length", str(10**8 if self.trickle or self.flood else len(body))
        )
        request.end_headers()
        self.send(request, body)

    def send(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """Send a body, with the faults of this mirror."""
        while self.trickle and not self.stopped.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()
        while self.flood and self.sent < 10**8:
            self.sent += request.wfile.write(bytes(10**6))
        end = self.pause_after if self.cut_after is None else self.cut_after
        request.wfile.write(body[:end])
        if self.pause_after is not None:
            self.stopped.wait(10)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mirror]]:
    """Starts mirrors: `serve(content, cut_after=100).address`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running: list[tuple[Mirror, ThreadingHTTPServer]] = []

    def start(content: bytes, **faults: Any) -> Mirror:
        mirror = Mirror(content, **faults)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(ConnectionError):  # the client may have seen enough
                    mirror.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        mirror.address = f"http://127.0.0.1:{server.server_port}"
        running.append((mirror, server))
        return mirror

    yield start
    for mirror, server in running:
        mirror.stopped.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    """A shipped config by its group and name: `config("task=adding")`."""

    def composed(choice: str, *more: str) -> dict[str, Any]:
        folder = Path(__file__).parents[2] / "conf"
        with initialize_config_dir(str(folder), version_base=None):
            group = choice.partition("=")[0].partition("@")[0]
            chosen = compose(overrides=[f"+{choice}", *more])[group]
            plain: Any = OmegaConf.to_container(chosen, resolve=True)
            return dict(plain)

    return composed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project root, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fetched(project: Path, config: Callable[..., dict[str, Any]]) -> Callable[[str], None]:
    """Downloads a shipped dataset into the project: `fetched("digits")`."""

    def fetch(name: str) -> None:
        plan = project / "plan-of-download.yaml"
        write_json(plan, {"stage": "download", "dataset": config(f"dataset={name}")})
        download.main(plan, Path("results/data", name, "manifest.json"))

    return fetch
