"""The tile of each processor: the choice, the machine code, and the numbers of a layer with it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from lookback.kernels.machine import AVX, AVX512, NEON, SSE, TILE, UNIT, tile_for
from lookback.kernels.tile import emit_tile

ROOT = Path(__file__).parents[2]
# tile, target of LLVM, a processor with these vectors, fused multiply-adds with registers
PROCESSORS = [
    (AVX512, "x86_64-unknown-linux-gnu", "skylake-avx512", r"vfm\w+ps.*%zmm"),
    (AVX, "x86_64-unknown-linux-gnu", "haswell", r"vfm\w+ps.*%ymm"),
    (SSE, "x86_64-unknown-linux-gnu", "x86-64", r"mulps.*%xmm"),
    (NEON, "aarch64-unknown-linux-gnu", "neoverse-n1", r"fmla.*v\d+\.4s"),
]
# what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say, and the CPU features that a machine needs for it
FORCED = {
    AVX512: ("skylake-avx512", "+avx,+avx2,+fma,+avx512f,+avx512vl,+avx512dq,+avx512bw"),
    AVX: ("haswell", "+avx,+avx2,+fma"),
    SSE: ("x86-64", ""),
    NEON: ("generic", "+neon"),
}


@pytest.mark.parametrize(
    ("features", "architecture", "tile"),
    [
        ("+64bit,+avx,+avx2,-avx512f,+fma", "x86_64", AVX),
        ("+avx,+avx2,+avx512f,+avx512vl", "x86_64", AVX512),
        ("-avx,-avx512f,+sse4.2", "x86_64", SSE),
        ("", "x86_64", SSE),
        ("+neon,+sve", "aarch64", NEON),
        ("", "arm64", NEON),
    ],
)
def test_a_tile_follows_the_cpu_features(features, architecture, tile):
    assert tile_for(features, architecture) == tile


@pytest.fixture(scope="module")
def _targets():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def assembly(tile, units, triple, processor):
    number = ir.IntType(64)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [number] * 7), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_tile(builder, tile, units, True, *function.args)
    builder.ret_void()
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=3)
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return target.emit_assembly(parsed)


@pytest.mark.usefixtures("_targets")
@pytest.mark.parametrize(("tile", "triple", "processor", "multiply"), PROCESSORS)
def test_the_sums_of_a_tile_stay_in_the_registers_of_its_processor(
    tile, triple, processor, multiply
):
    for units in range(1, tile.units + 1):
        text = assembly(tile, units, triple, processor)
        vectors = -(-units * UNIT // tile.lanes)
        assert len(re.findall(multiply, text)) >= tile.rows * (vectors - (tile is AVX512))
        stack = [line for line in text.splitlines() if re.search(r"%rsp|\[sp", line)]
        assert not [line for line in stack if re.search(r"%[xyz]mm|\tq\d+", line)]


def can_run(tile):
    """Whether this machine has the vectors of `tile`, other than those the other tests use."""
    host = llvm.get_host_cpu_features()
    needed = FORCED[tile][1].replace("+", "").split(",")
    x86 = (tile is NEON) == (TILE is NEON)
    return x86 and tile != TILE and all(host.get(name) for name in needed if name)


@pytest.mark.parametrize("tile", [tile for tile in FORCED if can_run(tile)], ids=str)
def test_a_layer_has_the_same_numbers_with_the_tile_of_another_processor(tile, tmp_path):
    """A GRU has all kinds of products. Each tile is compiled into an empty cache."""
    name, features = FORCED[tile]
    tests = ["test_product.py", "test_layer.py"]
    code = (
        "import sys, pytest; from lookback.kernels.machine import TILE;"
        f"assert TILE == {tuple(tile)}, TILE;"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', sys.argv[1], *sys.argv[2:]]))"
    )
    chosen = "product or weights or tanh or (gru and no_further)"
    command = [sys.executable, "-c", code, chosen, *(f"tests/kernels/{test}" for test in tests)]
    env = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    env |= {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
