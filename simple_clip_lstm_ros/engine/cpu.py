"""What kind of CPU this is, and the power mode of a Jetson."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Of x86-64 and of ARM: instructions that multiply narrow numbers.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}


def cpu_name() -> str:
    return _cpuinfo("model name") or platform.machine()


def low_precision_isa() -> list[str]:
    """The instructions that it has for bfloat16 and int8, by Linux's names."""
    return sorted((_BF16 | _INT8) & set((_cpuinfo("flags") or _cpuinfo("Features")).split()))


def has_native_bf16() -> bool:
    """Whether it multiplies bfloat16 itself. Elsewhere PyTorch emulates it, several times slower than float32."""
    return bool(_BF16 & set(low_precision_isa()))


def has_int8_dot() -> bool:
    """Whether it sums products of int8 in 32 bits, four at a time, as PyTorch's kernels use it (AVX512-VNNI, AMX)."""
    return bool({"avx512_vnni", "amx_int8"} & set(low_precision_isa()))


def _cpuinfo(name: str) -> str:
    """Of the first core; empty where it is not told."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def power_mode() -> str | None:
    """Its name and number, as `15W 2`; None where there is none."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    told = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=10, check=False).stdout
    return " ".join(told.replace("NV Power Mode:", "").split()) or None
