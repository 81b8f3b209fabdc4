"""How a benchmark leaves its figures: bench/results/<name>.json, with machine, versions, commit."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]


def write(name: str, **said: Any) -> None:
    """Write what was measured beside what it was measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    about = {"machine": machine, "torch": torch.__version__, "commit": commit.stdout.strip()}
    (ROOT / f"bench/results/{name}.json").write_text(json.dumps({**about, **said}, indent=1) + "\n")
