"""Name, low-precision instructions and Jetson power mode of this CPU."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Instruction sets for low-precision products on x86-64 and ARM.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}


def cpu_name() -> str:
    return _cpuinfo("model name") or platform.machine()


def low_precision_isa() -> list[str]:
    """Return the CPU's bfloat16 and int8 instruction sets, by Linux's names."""
    return sorted((_BF16 | _INT8) & set((_cpuinfo("flags") or _cpuinfo("Features")).split()))


def has_native_bf16() -> bool:
    """Return whether the CPU multiplies bfloat16 natively.

    Without that, PyTorch emulates it, several times slower than float32.
    """
    return bool(_BF16 & set(low_precision_isa()))


def has_int8_dot() -> bool:
    """Return whether the CPU has int8 dot products of four with 32-bit sums (AVX512-VNNI, AMX).

    PyTorch's int8 kernels use these instructions.
    """
    return bool({"avx512_vnni", "amx_int8"} & set(low_precision_isa()))


def _cpuinfo(name: str) -> str:
    """Return a field of the first core in /proc/cpuinfo, or an empty string."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def power_mode() -> str | None:
    """Return name and number of the Jetson power mode, such as `15W 2`, or None."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    output = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=10, check=False).stdout
    return " ".join(output.replace("NV Power Mode:", "").split()) or None
