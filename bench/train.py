r"""Compares a training step of each model with plain PyTorch, Keras and a lower bound of the time.

A step is forward, backward and Adam in float32. The two compared implementations alternate step by
step, so that a busy machine slows both. The tables of one thread measure CPU time, which does not
grow while other processes run. A ratio is the median over pairs with a 95 % bootstrap
interval. `of_floor` is the time of a step divided by the time that the step's matrix products would
take at the measured speed of a 1024³ matrix product on one thread.

    python bench/train.py [runs]            measure every table `runs` times (default 3)
    KERAS=/path/to/python python bench/train.py   also measure Keras, installed for that Python

With these variables, torch and our kernels use the vectors of AVX2 on a newer processor:

    ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 \
    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma python bench/train.py

Writes bench/results/train.json with machine, versions and commit.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import llvmlite.binding as llvm
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lookback.kernels.machine import TILE
from lookback.models.base import Initialisation, Trace
from lookback.models.recurrent import RecurrentModel
from lookback.planning.study import compose_by_hand
from lookback.runtime.instantiate import instantiate

ROOT = Path(__file__).parents[1]
SHAPES = (  # batch, steps, features, hidden, layers
    (128, 28, 28, 50, 2),
    (128, 64, 1, 64, 1),
    (64, 784, 1, 128, 1),
    (32, 200, 2, 64, 1),
    (64, 100, 2, 64, 1),
)
MODULES = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}
PAIRS = 24
KERAS_STARTS = 6
START = Initialisation("orthogonal", "xavier_uniform", 1.0)


def model_of(name: str, features: int, hidden: int, layers: int) -> nn.Module:
    """A model of conf/model/ with the given size."""
    config = dict(compose_by_hand(ROOT / "conf", "adding", name, 0, []).cells["adding", name].model)
    config |= {"hidden_size": hidden} | ({"layers": layers} if "layers" in config else {})
    config.pop("embedding_size", None)
    model = instantiate(config, features=features)
    model.initialise(START)
    return model


class Bare(nn.Module):
    """PyTorch's module (nn.RNN, nn.LSTM or nn.GRU) with the call interface of our models."""

    def __init__(self, kind: str, features: int, hidden: int, layers: int):
        super().__init__()
        self.kernel = MODULES[kind](features, hidden, layers, batch_first=True)

    def forward(self, inputs: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
        return self.kernel(inputs)[0][:, -1:]


class Step:
    """A training step on fixed random data; each call runs one step."""

    def __init__(self, encoder: nn.Module, width: int, batch: int, steps: int, features: int):
        self.encoder, self.head = encoder, nn.Linear(width, 10)
        # Both implementations use fused Adam, as our recipes do.
        weights = [*encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(weights, fused=True)
        self.inputs = torch.randn(batch, steps, features)
        self.lengths = torch.full((batch,), steps)
        self.target = torch.randint(10, (batch,))

    def forward(self) -> Tensor:
        return self.encoder(self.inputs, self.lengths, self.lengths[:, None] - 1)

    def trace(self) -> Trace:
        return self.encoder.trace(self.inputs, self.lengths, self.lengths[:, None] - 1)

    def __call__(self) -> None:
        loss = functional.cross_entropy(self.head(self.forward()[:, 0]), self.target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a function that runs in one thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def in_turns(one: Callable[[], object], other: Callable[[], object], pairs: int) -> np.ndarray:
    """Seconds (pairs, 2) of two functions that alternate, after two pairs that warm up."""
    return np.array([(seconds(one), seconds(other)) for _ in range(pairs + 2)])[2:]


def ratio(times: np.ndarray) -> dict[str, float]:
    """How many times faster the second column is: the median over pairs and its 95 % interval."""
    ratios = times[:, 0] / times[:, 1]
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def machine() -> list[dict]:
    """The processor, the vectors of torch and of our kernels, and the speed of a large product."""
    name = llvm.get_host_cpu_name()
    row = {"cpu": name, "torch": torch.backends.cpu.get_cpu_capability(), "lanes": TILE.lanes}
    return [row | {"gflops": gemm_speed() / 1e9, "load": os.getloadavg()[0]}]


def gemm_speed() -> float:
    """FLOP/s of a 1024³ matrix product on one thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ b) for _ in range(10))


def flops(kind: str, shape: tuple[int, ...]) -> float:
    """FLOP of all matrix products of a training step, forward and backward."""
    batch, steps, features, hidden, layers = shape
    inner = hidden * (features + hidden) + (layers - 1) * 2 * hidden * hidden
    return 3 * 2 * batch * steps * BLOCKS[kind] * inner


def kernels() -> list[dict]:
    """A training step with our fused kernels compared with PyTorch's modules."""
    rows, speed = [], gemm_speed()
    for kind in MODULES:
        for shape in SHAPES:
            batch, steps, features, hidden, layers = shape
            torch.manual_seed(0)
            bare = Step(Bare(kind, features, hidden, layers), hidden, batch, steps, features)
            model = model_of(kind, features, hidden, layers)
            assert isinstance(model, RecurrentModel)
            ours = Step(model, hidden, batch, steps, features)
            times = in_turns(bare, ours, PAIRS)
            theirs_ms, ours_ms = 1e3 * np.median(times, axis=0)
            row = {"model": kind, "shape": shape, "torch_ms": theirs_ms, "ours_ms": ours_ms}
            row |= ratio(times) | {"of_floor": ours_ms / (1e3 * flops(kind, shape) / speed)}
            rows.append(row)
        ratios = [row["ratio"] for row in rows if row["model"] == kind]
        rows.append(
            {"model": kind, "shape": "geometric mean", "ratio": statistics.geometric_mean(ratios)}
        )
    return rows


def all_models() -> list[dict]:
    """A training step of every model of conf/model/ at one shape, compared with PyTorch's LSTM."""
    batch, steps, features, hidden, layers = SHAPES[-1]
    rows = []
    for name in sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml")):
        torch.manual_seed(0)
        model = model_of(name, features, hidden, layers)
        bare = Step(Bare("lstm", features, hidden, layers), hidden, batch, steps, features)
        ours = Step(model, model.output_size, batch, steps, features)
        times = in_turns(bare, ours, 6)
        row = {"model": name, "ours_ms": 1e3 * float(np.median(times[:, 1]))}
        rows.append(row | ratio(times))
    return rows


def looking() -> list[dict]:
    """The time of `trace` without gradients, as a multiple of the time of the forward pass."""
    rows = []
    for kind in MODULES:
        for shape in SHAPES:
            batch, steps, features, hidden, layers = shape
            ours = Step(model_of(kind, features, hidden, layers), hidden, batch, steps, features)
            with torch.no_grad():
                times = in_turns(ours.trace, ours.forward, 8)
            rows.append({"model": kind, "shape": shape} | ratio(times))
    return rows


def denormals() -> list[dict]:
    """The cost of denormal numbers: a training step with a state that decays, and one without.

    The decaying state falls below the smallest normal float32 within T = 1,000 time steps.
    """
    rows = []
    for kind in MODULES:
        steps = [Step(model_of(kind, 1, 64, 1), 64, 32, 1000, 1) for _ in range(2)]
        fading, ordinary = steps
        fading.inputs = 1e-3 * 0.5 ** torch.arange(1000.0).view(1, -1, 1).expand(32, -1, 1)
        with torch.no_grad():
            for name, parameter in fading.encoder.named_parameters():
                parameter.mul_(0.0 if "bias" in name else 0.3)
        rows.append({"model": kind} | ratio(in_turns(fading, ordinary, 8)))
    return rows


def memory() -> list[dict]:
    """Peak memory of one training step at T = 10,000, hidden size 128 and batch 16.

    Each model runs in a new process. The peak comes from Linux's /proc/self/status because
    getrusage would include the memory of the parent process.
    """
    rows = []
    for kind in MODULES:
        code = (
            "import re, sys; sys.path.insert(0, 'bench'); import train;"
            f"train.Step(train.model_of('{kind}', 1, 128, 1), 128, 16, 10000, 1)();"
            "status = open('/proc/self/status').read();"
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 2**20)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        rows.append({"model": kind, "GiB": float(done.stdout)})
    return rows


def side_by_side() -> list[dict]:
    """Our cells in parallel with one thread each, compared with PyTorch's modules in sequence.

    PyTorch's modules use the default number of threads, one per core.
    """
    cores, rows = os.cpu_count() or 1, []
    for kind in MODULES:
        for shape in SHAPES[1:4]:
            bare = _steps_a_second(kind, shape, "bare", processes=1, threads=cores)
            ours = _steps_a_second(kind, shape, "ours", processes=cores, threads=1)
            row = {"model": kind, "shape": shape, "torch": bare, "ours": ours}
            rows.append(row | {"ratio": ours / bare})
        ratios = [row["ratio"] for row in rows if row["model"] == kind]
        rows.append(
            {"model": kind, "shape": "geometric mean", "ratio": statistics.geometric_mean(ratios)}
        )
    return rows


def _steps_a_second(kind: str, shape: tuple, who: str, *, processes: int, threads: int) -> float:
    code = (
        "import sys; sys.path.insert(0, 'bench'); import train; import torch;"
        f"torch.set_num_threads({threads}); print(train.rate('{kind}', {shape}, '{who}'))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def rate(kind: str, shape: tuple[int, ...], who: str, lasting: float = 4.0) -> float:
    """Training steps per second, measured for `lasting` seconds so that processes overlap."""
    batch, steps, features, hidden, layers = shape
    make = Bare if who == "bare" else model_of
    step = Step(make(kind, features, hidden, layers), hidden, batch, steps, features)
    step()
    step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < lasting:
        step()
        count += 1
    return count / (time.perf_counter() - start)


def tutorial() -> list[dict]:
    """Epochs of 60,000 images per second of the tutorial's network on all cores: ours and Keras.

    Our runs and Keras alternate. The speed of Keras differs by half between process starts, so the
    benchmark starts Keras KERAS_STARTS times.
    """
    if "KERAS" not in os.environ:
        return []
    cores, rates, versions = os.cpu_count() or 1, [], ""
    ways = {"cells side by side": (cores, 1), "one cell, all threads": (1, cores)}
    command = [os.environ["KERAS"], str(ROOT / "bench/keras_epoch.py")]
    for _ in range(KERAS_STARTS):
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        keras = json.loads(output.splitlines()[-1])
        ours = [
            _steps_a_second("lstm", SHAPES[0], "ours", processes=processes, threads=threads)
            for processes, threads in ways.values()
        ]
        rates.append([keras["rate"], *(128 * steps / 60_000 for steps in ours)])
        versions = keras["versions"]
    seconds_an_epoch = 1 / np.array(rates)
    middle = np.median(rates, axis=0)
    return [
        {"way": way, "epochs_a_second": middle[place], "keras": middle[0]}
        | ratio(seconds_an_epoch[:, [0, place]])
        | {"versions": versions}
        for place, way in enumerate(ways, start=1)
    ]


TABLES = (machine, kernels, all_models, looking, denormals, memory, side_by_side, tutorial)


def show(name: str, rows: list[dict]) -> None:
    print(f"\n{name}")
    for row in rows:
        shown = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
        print("  " + "  ".join(f"{key} {value}" for key, value in zip(row, shown, strict=True)))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    results = []
    for _ in range(runs):
        tables = {}
        for table in TABLES:
            tables[table.__name__] = table()
            show(table.__name__, tables[table.__name__])
        results.append(tables)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    about = {"kind": platform.machine(), "cores": os.cpu_count()} | machine()[0]
    document = {"command": "python bench/train.py", "commit": commit.stdout.strip()}
    document |= {"machine": about, "torch": torch.__version__, "runs": results}
    (ROOT / "bench/results/train.json").write_text(json.dumps(document, indent=1) + "\n")


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_flush_denormal(True)
if __name__ == "__main__":
    main()
