"""The vector registers of the processor, and the tile of a matrix product that fits into them.

The tile depends on the CPU features for which numba compiles, and on nothing else. The environment
variables NUMBA_CPU_NAME and NUMBA_CPU_FEATURES therefore change the tile, too. numba keeps the
machine code of each set of CPU features apart in its cache.
"""

import platform
from typing import NamedTuple

from numba.core import config
from numba.core.codegen import get_host_cpu_features

UNIT = 8  # columns; the number of columns of every matrix is a multiple of UNIT


class Tile(NamedTuple):
    """The size of the largest block of a product matrix whose sums stay in registers."""

    lanes: int  # number of floats in a vector register
    rows: int
    units: int  # number of units of 8 columns


# Besides the sums, a tile needs registers for its columns of weights and for its inputs.
AVX512 = Tile(lanes=16, rows=8, units=6)  # 24 + 3 + 1 of 32 registers
AVX = Tile(lanes=8, rows=4, units=3)  # 12 + 3 + 1 of 16 registers
NEON = Tile(lanes=4, rows=4, units=2)  # 16 + 4 + 4 of 32 registers
SSE = Tile(lanes=4, rows=4, units=1)  # 8 + 2 + 1 of 16 registers


def tile_for(features: str, architecture: str) -> Tile:
    """The tile for LLVM's list of CPU features, for example "+avx,+avx2,-avx512f".

    `architecture` is the name of the processor's architecture as in `platform.machine()`. Every
    processor with the architecture aarch64 has NEON.
    """
    present = set(features.split(","))
    if "+avx512f" in present:
        return AVX512
    if "+avx" in present:
        return AVX
    return NEON if architecture in {"aarch64", "arm64"} else SSE


def _features() -> str:
    """The CPU features for which numba compiles."""
    chosen: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    return str(get_host_cpu_features()) if chosen is None else chosen  # type: ignore[no-untyped-call]


TILE = tile_for(_features(), platform.machine())
