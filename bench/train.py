"""A training step of each model here beside bare torch, Keras, and the machine's floor.

Forward, backward and Adam in float32. Rivals take turns step by step, so that a busy machine slows
both; a ratio is the median over pairs, with the middle 95 % of a bootstrap of that median.
`floor` is the arithmetic of the step's products at the speed of a 1024³ product on one thread.

    python bench/train.py [runs]            every table, `runs` times (3)
    KERAS=/path/to/its/python python bench/train.py   with Keras, which wants a place of its own

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

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """A model as shipped in conf/model/, of this size."""
    config = dict(compose_by_hand(ROOT / "conf", "adding", name, 0, []).cells["adding", name].model)
    config |= {"hidden_size": hidden} | ({"layers": layers} if "layers" in config else {})
    config.pop("embedding_size", None)
    model = instantiate(config, features=features)
    model.initialise(START)
    return model


class Bare(nn.Module):
    """Torch's own module, as anybody would use it."""

    def __init__(self, kind: str, features: int, hidden: int, layers: int):
        super().__init__()
        self.kernel = MODULES[kind](features, hidden, layers, batch_first=True)

    def forward(self, inputs: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
        return self.kernel(inputs)[0][:, -1:]


class Step:
    """A training step that can be taken again and again."""

    def __init__(self, encoder: nn.Module, width: int, batch: int, steps: int, features: int):
        self.encoder, self.head = encoder, nn.Linear(width, 10)
        # Fused for both, as the recipes here have it.
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
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(one: Callable[[], object], other: Callable[[], object], pairs: int) -> np.ndarray:
    """Seconds (pairs, 2), after two pairs that warm up."""
    return np.array([(seconds(one), seconds(other)) for _ in range(pairs + 2)])[2:]


def ratio(times: np.ndarray) -> dict[str, float]:
    """How many times faster the second is: the median over pairs, and its interval."""
    ratios = times[:, 0] / times[:, 1]
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def gemm_speed() -> float:
    """FLOP/s of a large product on one thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ b) for _ in range(10))


def flops(kind: str, shape: tuple[int, ...]) -> float:
    """Of the products of a step, forward and backward."""
    batch, steps, features, hidden, layers = shape
    inner = hidden * (features + hidden) + (layers - 1) * 2 * hidden * hidden
    return 3 * 2 * batch * steps * BLOCKS[kind] * inner


def kernels() -> list[dict]:
    """The fused kernels against torch's modules."""
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
        own = [row["ratio"] for row in rows if row["model"] == kind]
        rows.append(
            {"model": kind, "shape": "geometric mean", "ratio": statistics.geometric_mean(own)}
        )
    return rows


def all_models() -> list[dict]:
    """A step of every model of conf/model/ at one shape, against torch's LSTM."""
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
    """Prediction and `trace` without gradients, as multiples of the bare forward's time."""
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
    """A step whose state fades to nothing over T = 1,000, against one whose state does not."""
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
    """Peak memory of one training step at T = 10,000, hidden 128, batch 16, in a process each.

    Of Linux: what getrusage says would count the parent's memory too.
    """
    rows = []
    for kind in MODULES:
        code = (
            "import re, sys; sys.path.insert(0, 'bench'); import train;"
            f"train.Step(train.model_of('{kind}', 1, 128, 1), 128, 16, 10000, 1)();"
            "said = open('/proc/self/status').read();"
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', said)[1]) / 2**20)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        rows.append({"model": kind, "GiB": float(done.stdout)})
    return rows


def side_by_side() -> list[dict]:
    """Cells with one thread each, together, against torch's modules one after another.

    The latter with torch's default threads: as many as there are cores.
    """
    cores, rows = os.cpu_count() or 1, []
    for kind in MODULES:
        for shape in SHAPES[1:4]:
            bare = _steps_a_second(kind, shape, "bare", processes=1, threads=cores)
            ours = _steps_a_second(kind, shape, "ours", processes=cores, threads=1)
            row = {"model": kind, "shape": shape, "torch": bare, "ours": ours}
            rows.append(row | {"ratio": ours / bare})
        own = [row["ratio"] for row in rows if row["model"] == kind]
        rows.append(
            {"model": kind, "shape": "geometric mean", "ratio": statistics.geometric_mean(own)}
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
    """Steps a second over a while; several processes overlap in it."""
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
    """The tutorial's network on all cores: epochs of 60,000 a second, ours and Keras's, in turns.

    Keras's own speed differs by half from one start to the next, so it is started often.
    """
    if "KERAS" not in os.environ:
        return []
    cores, rates, versions = os.cpu_count() or 1, [], ""
    ways = {"cells side by side": (cores, 1), "one cell, all threads": (1, cores)}
    command = [os.environ["KERAS"], str(ROOT / "bench/keras_epoch.py")]
    for _ in range(KERAS_STARTS):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        keras = json.loads(said.splitlines()[-1])
        ours = [
            _steps_a_second("lstm", SHAPES[0], "ours", processes=processes, threads=threads)
            for processes, threads in ways.values()
        ]
        rates.append([keras["rate"], *(128 * each / 60_000 for each in ours)])
        versions = keras["versions"]
    seconds_an_epoch = 1 / np.array(rates)
    middle = np.median(rates, axis=0)
    return [
        {"way": way, "epochs_a_second": middle[place], "keras": middle[0]}
        | ratio(seconds_an_epoch[:, [0, place]])
        | {"versions": versions}
        for place, way in enumerate(ways, start=1)
    ]


TABLES = (kernels, all_models, looking, denormals, memory, side_by_side, tutorial)


def show(name: str, rows: list[dict]) -> None:
    print(f"\n{name}")
    for row in rows:
        shown = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
        print("  " + "  ".join(f"{key} {value}" for key, value in zip(row, shown, strict=True)))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = []
    for _ in range(runs):
        tables = {}
        for table in TABLES:
            tables[table.__name__] = table()
            show(table.__name__, tables[table.__name__])
        found.append(tables)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    machine = {"kind": platform.machine(), "cores": os.cpu_count(), "gemm": gemm_speed()}
    machine |= {"vectors": torch.backends.cpu.get_cpu_capability()}
    said = {"command": "python bench/train.py", "commit": commit.stdout.strip()}
    said |= {"machine": machine, "torch": torch.__version__, "runs": found}
    (ROOT / "bench/results/train.json").write_text(json.dumps(said, indent=1) + "\n")


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_flush_denormal(True)
if __name__ == "__main__":
    main()
