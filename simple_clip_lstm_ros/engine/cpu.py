"""What kind of CPU this is, as Linux tells."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Of x86-64 and of ARM: instructions that multiply narrow numbers.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}


def cpu_name() -> str:
    return _told("model name") or platform.machine()


def narrow_arithmetic() -> list[str]:
    """The instructions that it has for bfloat16 and int8, by Linux's names."""
    return sorted((_BF16 | _INT8) & set((_told("flags") or _told("Features")).split()))


def computes_bf16() -> bool:
    """Whether it multiplies bfloat16 itself. Elsewhere PyTorch emulates it, several times slower than float32."""
    return bool(_BF16 & set(narrow_arithmetic()))


def multiplies_int8() -> bool:
    """Whether it sums products of int8 in 32 bits, four at a time, as PyTorch's kernels use it (AVX512-VNNI, AMX)."""
    return bool({"avx512_vnni", "amx_int8"} & set(narrow_arithmetic()))


def _told(name: str) -> str:
    """Of the first core; empty where it is not told."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
