"""The machine of a benchmark: its peak rates, and everything else that a figure depends on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from simple_clip_lstm_ros.engine.cpu import cpu_name, has_int8_dot, low_precision_isa, power_mode
from simple_clip_lstm_ros.engine.memory import clear_memory, is_out_of_memory
from simple_clip_lstm_ros.engine.packed_linear import can_pack, pack, pack_int8
from simple_clip_lstm_ros.errors import MemoryBudgetError, first_line

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
_SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices: large enough for the full rate, small enough for a slow dtype
_BUFFER = {"cpu": 1 << 29, "cuda": 1 << 31}  # bytes: many times any cache
_TIME = 0.3  # s that each measurement takes at least


# In which arithmetic weights of a precision can be computed without losing any of it.
_ARITHMETIC = {
    "fp32": ("fp32",),
    "bf16": ("bf16", "fp32"),
    "fp16": ("fp16", "fp32"),
    "int8": ("int8", "bf16", "fp16", "fp32"),
}


@dataclass(frozen=True)
class DevicePeak:
    """`rates`: operations a second by arithmetic, of those that it has. `bandwidth`: bytes a second, read."""

    rates: dict[str, float]
    bandwidth: float

    def rate(self, precision: str) -> float:
        """The best for weights of this precision: a machine that is slow in it can widen them."""
        return max(self.rates[name] for name in _ARITHMETIC[precision] if name in self.rates)


@torch.inference_mode()
def measure_peak(device: torch.device) -> DevicePeak:
    """With all threads that torch has; the fastest runs. Takes some seconds, most of them for what it is slow in.

    Raises MemoryBudgetError where there is no room for that.
    """
    try:
        rates = {name: rate for name, dtype in _DTYPES.items() if (rate := _operations_rate(device, dtype))}
        buffer = torch.zeros(_BUFFER[device.type] // 4, device=device)
        return DevicePeak(rates, buffer.nbytes / _fastest(device, buffer.sum))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryBudgetError(f"there is no memory to measure {device} with: {first_line(error)}") from None
    finally:
        clear_memory()  # a GPU's would be kept, and be missing for the model


def _operations_rate(device: torch.device, dtype: torch.dtype) -> float:
    """By the fastest kernel there is, an engine's own among them; 0 where the device has no such product."""
    side = _SIDE[device.type]
    values = torch.zeros(side, side) if dtype == torch.int8 else torch.rand(side, side)
    rate = 0.0
    for product in _products(values.to(device, dtype)):
        try:
            rate = max(rate, 2.0 * side**3 / _fastest(device, product))
        except (RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
    return rate


def _products(matrix: Tensor) -> Iterator[Callable[[], Tensor]]:
    """Ways of multiplying it by its transpose. Packed, it is a weight, laid out beforehand."""
    if matrix.dtype == torch.int8:
        # torch has no public name for the product of int8 matrices.
        yield lambda: torch._int_mm(matrix, matrix.T)
        if matrix.device.type == "cpu" and has_int8_dot():
            int8, inputs = pack_int8(matrix, torch.ones(len(matrix), 1)), matrix.float()
            yield lambda: F.linear(inputs, int8)
    else:
        yield lambda: matrix @ matrix.T
        if matrix.device.type == "cpu" and can_pack(matrix.dtype):
            packed = pack(matrix)
            yield lambda: F.linear(matrix, packed)


def _fastest(device: torch.device, act: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    act()
    times: list[float] = []
    while not times or sum(times) < _TIME:
        synchronize(device)
        begin = time.perf_counter()
        act()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


_LIBRARIES = ("transformers", "torchao", "numpy")
# Settings of the libraries that compute, which decide about speed.
_SETTINGS = ("OMP_", "MKL_", "ONEDNN_", "KMP_", "GOMP_", "CUDA_", "PYTORCH_", "TORCH_", "ATEN_", "LD_PRELOAD")


def collect_env(device: torch.device) -> dict[str, Any]:
    """For JSON: device, threads, clocks, power mode, versions, environment and date."""
    frequency = psutil.cpu_freq()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": psutil.virtual_memory().total,
        "threads": torch.get_num_threads(),
        "instructions": " ".join([torch.backends.cpu.get_cpu_capability(), *low_precision_isa()]),
        "clock (MHz)": round(frequency.max or frequency.current) if frequency else None,
        "governor": _governor(),
        "power mode": power_mode(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": _versions(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)},
        "date": time.strftime("%Y-%m-%d"),
    }


def format_env(conditions: Mapping[str, Any]) -> str:
    """The line below a table."""
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    mode = f", power mode {conditions['power mode']}" if conditions["power mode"] else ""
    return (
        f"{conditions['device']} ({conditions['instructions']}), {conditions['cpus']} CPUs, {conditions['threads']} "
        f"threads, {conditions['memory'] / 1e9:.0f} GB{mode}; {versions}; {conditions['date']}"
    )


def _governor() -> str | None:
    """Who decides about the clock of the CPU."""
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return file.read_text().strip() if file.exists() else None


def _versions() -> dict[str, str | None]:
    own = {
        "python": platform.python_version(),
        "torch": torch.__version__,
    }  # with the build, which its metadata may lack
    return own | {name: _version(name) for name in _LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # torchao is optional
        return None
