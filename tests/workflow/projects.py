"""Copies of the project, each with a small study, run as a user runs it."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

PARTS = ("Snakefile", "references.bib", "conf", "profiles", "src", "workflow")
SMALL = """# conf/study/small.yaml — does it all hang together?
tasks:
  adding: {overrides: [task.length=10, task.train=96, task.validation=32, task.test=48]}
models:
  rnn:
  gru:
  attention:
seeds: 2
overrides: [model.hidden_size=6, trainer.batch_size=16, trainer.max_epochs=3, trainer.log_every=2]
probes: [gradient_flow]
explainers: [occlusion, attention]
"""
SAME = ("history.parquet", "metrics.json", "predictions.parquet")


@dataclass
class Project:
    """A copy of the project in a folder of its own."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    output: str = ""  # of the run that finished it

    @classmethod
    def at(cls, root: Path, study: str = SMALL) -> "Project":
        """A fresh copy, with the study `small`."""
        root.mkdir(parents=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, root / part, ignore=ignored)
            else:
                shutil.copy(source, root / part)
        (root / "conf/study/small.yaml").write_text(study)
        return cls(root)

    def copy(self, root: Path) -> "Project":
        """The same project with its results, elsewhere, and with the same times."""
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root, dict(self.environment))

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--cores", str(cores)),
            *("--config", "study=small"),
            *arguments,
        ]

    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOOKBACK_", "MLFLOW_"))}
        return {**kept, "PYTHONPATH": str(self.root / "src"), **self.environment}

    def run(self, *arguments: str, cores: int = 2, status: int = 0) -> str:
        """Run the study, hold its exit status, and give what it printed."""
        return self.call(self.command(*arguments, cores=cores), status=status)

    def lookback(self, *arguments: str, status: int = 0) -> str:
        return self.call([sys.executable, "-m", "lookback", *arguments], status=status)

    def call(self, command: list[str], status: int = 0) -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def start(self, *arguments: str, cores: int = 2) -> "subprocess.Popen[str]":
        """Start the study in a session of its own."""
        return subprocess.Popen(
            self.command(*arguments, cores=cores),
            cwd=self.root,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for_training(self, seconds: float = 120.0) -> None:
        """Until the first seed has begun."""
        until = time.monotonic() + seconds
        while not list((self.root / "results/.runs").glob("*/seed=*/journal.jsonl")):
            assert time.monotonic() < until, "no training began"
            time.sleep(0.02)

    def planned(self, *arguments: str) -> set[str]:
        """The jobs that a dry run names, without their reasons."""
        lines = self.run("-n", *arguments).splitlines()
        jobs = (line.removeprefix("would run ") for line in lines if line.startswith("would run "))
        return {job.partition(":")[0] for job in jobs if ":" in job and not job[0].isdigit()}

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file's text, which must be there."""
        file = self.root / path
        text = file.read_text()
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new, 1))

    def made(self, *patterns: str) -> set[str]:
        """What lies in the project under these patterns."""
        found = (path for pattern in patterns for path in self.root.glob(pattern))
        return {str(path.relative_to(self.root)) for path in found}

    @property
    def study(self) -> Path:
        return self.root / "results" / "small"

    def contents(self, study: str = "small") -> dict[str, bytes]:
        """The bytes that must not depend on how a study came to its end."""
        found = {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted((self.root / "results" / study).glob("*/*/*"))
            if path.name in SAME
        }
        assert found
        return found
