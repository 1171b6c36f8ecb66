"""Peak rates of the machine, and everything else that a benchmark result depends on."""

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
_SIDE = {"cpu": 1024, "cuda": 8192}  # of a square matrix: large enough for the full rate, small enough for a slow dtype
_BUFFER = {"cpu": 1 << 29, "cuda": 1 << 31}  # bytes: many times any cache
_MIN_TIME = 0.3  # s per measurement


# Compute types that lose nothing of weights of a precision.
_COMPUTE_TYPES = {
    "fp32": ("fp32",),
    "bf16": ("bf16", "fp32"),
    "fp16": ("fp16", "fp32"),
    "int8": ("int8", "bf16", "fp16", "fp32"),
}


@dataclass(frozen=True)
class DevicePeak:
    """Peak rates of a device.

    `rates`: operations per second, by each compute type that the device supports. `bandwidth`: bytes per second of
    reads.
    """

    rates: dict[str, float]
    bandwidth: float

    def rate(self, precision: str) -> float:
        """Return the best rate for weights of this precision: a slow low precision can be upcast."""
        return max(self.rates[name] for name in _COMPUTE_TYPES[precision] if name in self.rates)


@torch.inference_mode()
def measure_peak(device: torch.device) -> DevicePeak:
    """Measure the peak rates of a device with all of torch's threads; the fastest runs count.

    Takes some seconds, most of them for the compute types in which the device is slow. Raise MemoryBudgetError if
    memory is too small.
    """
    try:
        rates = {name: rate for name, dtype in _DTYPES.items() if (rate := _operations_rate(device, dtype))}
        buffer = torch.zeros(_BUFFER[device.type] // 4, device=device)
        return DevicePeak(rates, buffer.nbytes / _fastest(device, buffer.sum))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryBudgetError(f"not enough memory to benchmark {device}: {first_line(error)}") from None
    finally:
        clear_memory()  # PyTorch would keep the GPU memory that the model needs


def _operations_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of the fastest kernel, backends' own kernels included.

    Return 0 if the device has no such product.
    """
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
    """Yield functions that multiply `matrix` by its transpose.

    Packed matrices are weights and are packed beforehand.
    """
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


def _fastest(device: torch.device, run: Callable[[], object]) -> float:
    """Return the seconds of the fastest run."""
    run()
    times: list[float] = []
    while not times or sum(times) < _MIN_TIME:
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queued work; a no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


_LIBRARIES = ("transformers", "torchao", "numpy")
# Environment variables of the compute libraries that affect speed.
_SETTINGS = ("OMP_", "MKL_", "ONEDNN_", "KMP_", "GOMP_", "CUDA_", "PYTORCH_", "TORCH_", "ATEN_", "LD_PRELOAD")


def collect_env(device: torch.device) -> dict[str, Any]:
    """Return device, threads, clocks, power mode, versions, environment and date, ready for JSON."""
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


def format_env(env: Mapping[str, Any]) -> str:
    """Return the environment as the line below a table."""
    versions = ", ".join(f"{name} {number}" for name, number in env["versions"].items())
    mode = f", power mode {env['power mode']}" if env["power mode"] else ""
    return (
        f"{env['device']} ({env['instructions']}), {env['cpus']} CPUs, {env['threads']} "
        f"threads, {env['memory'] / 1e9:.0f} GB{mode}; {versions}; {env['date']}"
    )


def _governor() -> str | None:
    """Return the CPU frequency governor, or None."""
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return file.read_text().strip() if file.exists() else None


def _versions() -> dict[str, str | None]:
    own = {
        "python": platform.python_version(),
        "torch": torch.__version__,
    }  # includes the build, which the package metadata may lack
    return own | {name: _version(name) for name in _LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # torchao is optional
        return None
