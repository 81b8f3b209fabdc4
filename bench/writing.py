"""Writes the results of a benchmark to bench/results/<name>.json with machine and commit."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def write(name: str, **results: Any) -> None:
    """Write `results` together with the machine, the PyTorch version and the git commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    about = {"machine": machine, "torch": torch.__version__, "commit": commit.stdout.strip()}
    text = json.dumps({**about, **results}, indent=1)
    (ROOT / f"bench/results/{name}.json").write_text(text + "\n")
