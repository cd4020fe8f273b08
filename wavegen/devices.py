"""Which torch device to use, and which precision it is good at."""

import os
import shutil

import torch

from wavegen.errors import InputError


def choose_device(name: str) -> torch.device:
    """Turn auto, cpu or cuda into a device; auto takes a GPU where torch finds one.

    Raises: InputError for another name, or for cuda where torch finds no GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no CUDA GPU on this machine; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile has what it needs: a C++ compiler for the processor, nothing for a GPU."""
    return device.type == "cuda" or any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
