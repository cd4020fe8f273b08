"""Compile the GPU's kernel without a GPU, and say what it takes of a card: registers, stack (spills), shared memory.

    python -m tools.compile_ahead

For a full-size network (30 layers, 64 residual and 256 skip channels), and for one that is told a prediction (that of
recipes/vocoder.yaml), in every precision, for the cards of compute capability 8.0 and 9.0 (A100, H100).
"""

import re
import subprocess
import tempfile
from itertools import product

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from wavegen.engines.gpu import triton_gpu, triton_kernel

CARDS = (80, 90)
POINTERS = {"float32": "*fp32", "float16": "*fp16", "bfloat16": "*bf16"}
WEIGHTS = ("convolution", "projection", "skip_matrix", "hidden_matrix", "out_matrix")
FLOATS = ("embedding", "convolution_bias", "projection_bias", "skip_bias", "hidden_bias", "out_bias", "ring", "room")
OF_INPUT = ("input_matrix", "input_bias", "embeddings", "values", "companded", "gains", "voicing")
TYPES = {
    **dict.fromkeys([*FLOATS, *OF_INPUT, "logits", "condition"], "*fp32"),
    **dict.fromkeys(["dilations", "first_rows", "newest", "codes"], "*i64"),
    **dict.fromkeys(["uniforms", "decodings"], "*fp64"),
    **dict.fromkeys(["input_kinds", "input_periods", "input_steps", "past", "coefficients", "periods"], "*i32"),
    "levels": "*u8",
    **dict.fromkeys(["n_frames", "hop", "phase", "clock", "n", "B"], "i32"),
}
FULL = {
    "N_CLASSES": 256, "N_MIXTURES": 0, "LOG_PER_CODE": 0.0, "N_GATE": 64, "L": 30, "K": 2, "R": 64, "G": 64, "S": 256,
    "A": 256, "P": 256, "ROOM": 256, "TILE": triton_gpu.TILE, "BLOCK": triton_gpu.BLOCK, "IS_GATED": True,
    "IS_RESIDUAL": True, "IS_CONDITIONED": True, "IS_FILTERED": True, "IS_GUIDED": True, "WANTS_LOGITS": False,
    "ORDER": 0, "N_PAST": 0, "N_INPUTS": 1,
}  # fmt: skip
WITH_PREDICTION = {
    **FULL, "N_CLASSES": 65536, "N_MIXTURES": 4, "LOG_PER_CODE": -10.4, "N_GATE": 64, "L": 14, "R": 64, "G": 64,
    "S": 128, "A": 128, "P": 16, "ROOM": 128, "IS_FILTERED": False, "IS_GUIDED": False, "ORDER": 16, "N_PAST": 592,
    "N_INPUTS": 96,
}  # fmt: skip
NETWORKS = {"full size": FULL, "vocoder": WITH_PREDICTION}


def main() -> None:
    print("| network | weights | card | registers | stack, bytes | shared memory, bytes |\n|---|---|---|---|---|---|")
    for (network, sizes), (precision, pointer), card in product(NETWORKS.items(), POINTERS.items(), CARDS):
        types = {**TYPES, **dict.fromkeys(WEIGHTS, pointer)}
        signature = {name: types.get(name, "constexpr") for name in triton_kernel.run.arg_names}
        source = ASTSource(fn=triton_kernel.run, signature=signature, constexprs=sizes)
        compiled = triton.compile(source, target=GPUTarget("cuda", card, 32), options=triton_gpu.LAUNCH)
        n_registers, n_stack = used(compiled.asm["cubin"])
        shared = compiled.metadata.shared
        print(f"| {network} | {precision} | sm_{card} | {n_registers} | {n_stack} | {shared:,} |", flush=True)


def used(cubin: bytes) -> tuple[str, str]:
    """Registers of a thread, and bytes of its stack, where what does not fit into registers is spilled to."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (usage,) = re.findall(r"REG:(\d+) STACK:(\d+)", told)
    return usage


if __name__ == "__main__":
    main()
