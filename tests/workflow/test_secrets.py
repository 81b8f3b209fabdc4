"""No file, no output and no argument of a process of a real run shows a secret of a URI."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.servers import serving
from tests.workflow.projects import Project

STUDY = """# conf/study/small.yaml — does it tell?
tasks:
  adding: {overrides: [task.length=10, task.train=32, task.validation=16, task.test=16]}
models: [rnn]
seeds: 1
overrides: [model.hidden_size=3, trainer.batch_size=16, trainer.max_epochs=1, trainer.log_every=1]
"""
SECRETS = ("pw-7d1f%2F8%40b%25c", "tok-93ae-41f0", "query-5b2c", "file-8e6d", "plain-0f4a")


class Telltale(BaseHTTPRequestHandler):
    """A server that answers each request with an error that quotes the request."""

    def do_GET(self):
        self.send_response(500)
        body = f"{self.path} {unquote(self.path)} {self.headers}".encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def telltale() -> Iterator[str]:
    """The host and port of a server that quotes all that it is told."""
    with serving(Telltale) as address:
        yield address


@contextmanager
def arguments_seen() -> Iterator[set[str]]:
    """The arguments of all processes that run inside the `with` block."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            over.wait(0.01)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        over.set()
        watch.join()


def spoken(text: str) -> list[str]:
    """The secrets that a text holds, whole or in parts, as they are or percent-decoded."""
    forms = {secret: {secret, unquote(secret), secret.partition("%")[0]} for secret in SECRETS}
    return [secret for secret, them in forms.items() if any(form in text for form in them)]


def telling(root: Path) -> dict[str, list[str]]:
    """The files below `root` that hold a secret, or have one in their names."""
    found = {}
    for path in root.rglob("*"):
        text = path.name + (path.read_bytes().decode(errors="replace") if path.is_file() else "")
        if secrets := spoken(text):
            found[str(path.relative_to(root))] = secrets
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="arguments are read in /proc")
def test_a_run_writes_no_secret_anywhere(tmp_path, telltale):
    project = Project.at(tmp_path / "project", STUDY)
    uris = {
        f"http://ada:{SECRETS[0]}@127.0.0.1:9": 1,
        f"http://{SECRETS[1]}@{telltale}": 1,
        f"http://{telltale}/?password={SECRETS[2]}": 1,
        f"sqlite:///results/mlflow.db?password={SECRETS[3]}": 0,
    }
    with arguments_seen() as seen:
        for uri, status in uris.items():
            project.environment["MLFLOW_TRACKING_URI"] = uri
            assert spoken(project.run("--printshellcmds", status=status)) == []
            project.environment["LOOKBACK_TRACEBACK"] = "1"
            command = [sys.executable, "-m", "lookback", "track", "study=small"]
            ended = subprocess.run(
                command, cwd=project.root, env=project.env(), capture_output=True, text=True
            )
            assert (ended.returncode == 0) == (status == 0)
            assert spoken(ended.stdout + ended.stderr) == []
            del project.environment["LOOKBACK_TRACEBACK"]
    assert any("lookback track plan=" in arguments for arguments in seen)
    assert [arguments for arguments in seen if spoken(arguments)] == []
    assert telling(project.root) == {}
    page = (project.study / "report/index.html").read_text()
    assert "sqlite:///results/mlflow.db?password=…" in page


def test_a_secret_in_an_override_is_refused_and_written_nowhere(tmp_path):
    project = Project.at(tmp_path / "project", STUDY)
    for uri in (f"postgresql://u:{SECRETS[4]}@h/db", f"http://h/?token={SECRETS[4]}"):
        said = project.run(f"overrides=['tracking.uri=\"{uri}\"']", status=2)
        assert "MLFLOW_TRACKING_URI" in said
        assert "conf/tracking/" in said
        assert spoken(said) == []
    assert telling(project.root) == {}
