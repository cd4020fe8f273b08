"""The CPU that is compiled for, as LLVM knows it, and the vectors that it has. No numba."""

import os

import llvmlite.binding as llvm

from wavegen.engines.cpu.packing import VectorUnit


def _features() -> str:
    try:
        return llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on this kind of CPU
        return ""


# The host, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say instead, to LLVM and to numba alike.
TRIPLE = llvm.get_process_triple()
CPU_NAME = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
CPU_FEATURES = os.environ.get("NUMBA_CPU_FEATURES", _features())  # those that it has with a +, others with a -
FEATURES = frozenset(feature[1:] for feature in CPU_FEATURES.split(",") if feature.startswith("+"))

IS_ARM = TRIPLE.startswith(("aarch64", "arm64"))
LANES = 16 if "avx512f" in FEATURES else 8 if "avx2" in FEATURES else 4
STREAM_GROUPS = (8, 4, 2, 1)  # streams that one pass serves, most first
# Of 4 lanes a sum of pairs of bytes takes two vectors (simd.py), and 16 registers hold no 16 beside what they add.
MAX_VECTORS = 4 if LANES == 4 and not IS_ARM else 8
HOST = VectorUnit(LANES, 16 if LANES == 16 or IS_ARM else 8, MAX_VECTORS, "f16c" in FEATURES or IS_ARM)

HAS_VNNI = ("avx512vnni" in FEATURES and LANES == 16) or ("avxvnni" in FEATURES and LANES in (4, 8))
# Every CPU with this instruction has wider vectors. With 4 lanes it stands for WebAssembly's relaxed one, which takes 7
# bits of an input (ahead_of_time.py).
HAS_RELAXED_DOT = HAS_VNNI and LANES == 4


def can_multiply_bytes() -> bool:
    """Whether the CPU multiplies and adds groups of four bytes in one instruction (`vpdpbusd`), or pairs of 16 bits in
    vectors of 128, which every x86 does."""
    return HAS_VNNI or (LANES == 4 and not IS_ARM)


def streams_of_a_pass(n_streams: int) -> int:
    """How many of some streams one pass over a matrix serves."""
    return next(size for size in STREAM_GROUPS if size <= n_streams)
