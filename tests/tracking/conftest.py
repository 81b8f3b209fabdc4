import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import lookback

PACKAGE = str(Path(*lookback.__path__).resolve().parent)  # before the working directory changes


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """A project's root as working directory, with two stores: results/mlflow.db and another."""
    monkeypatch.chdir(tmp_path)
    for name in ("mlflow.db", "other/mlflow.db"):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(empty_store, path)
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator[str]:
    """The server that `lookback ui` starts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = (
        f"from lookback.tracking.connection import ui; ui('sqlite:///results/mlflow.db', {port})"
    )
    environment = {**os.environ, "PYTHONPATH": PACKAGE}
    with Path("server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", start], stdout=log, stderr=log, env=environment
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        while True:
            assert process.poll() is None, Path("server.log").read_text()
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield uri
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
