"""Which torch device to use, and which precision it is good at."""

import ctypes
import os
import platform
import shutil

import torch

from wavegen.errors import InputError

MALLOC_OPTIONS = {  # of glibc's malloc.h
    -4: 0,  # M_MMAP_MAX: no block of its own for a large request
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: give back only what exceeds 2 GB
    -2: 64 << 20,  # M_TOP_PAD: grow by this much
}


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


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed tensors for the next ones.

    A training step frees and takes the same megabytes over and over. glibc gives large ones back to the system each
    time and gets them as new pages, which must be filled with zeros: a quarter of a step's time on two cores. Elsewhere
    than under glibc this does nothing. The process keeps the most memory it has ever needed.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for option, value in MALLOC_OPTIONS.items():
            library.mallopt(option, value)
