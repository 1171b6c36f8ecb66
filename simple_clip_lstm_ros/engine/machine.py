"""What a device can do at most, measured: operations a second in large matrix products, bytes read a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
class Machine:
    """`rates`: operations a second by arithmetic, of those that it has. `bandwidth`: bytes a second, read."""

    rates: dict[str, float]
    bandwidth: float

    def rate(self, precision: str) -> float:
        """The best for weights of this precision: a machine that is slow in it can widen them."""
        return max(self.rates[name] for name in _ARITHMETIC[precision] if name in self.rates)


@torch.inference_mode()
def measure(device: torch.device) -> Machine:
    """With all threads that torch has; the fastest runs. Takes some seconds, most of them for what it is slow in."""
    rates = {name: rate for name, dtype in _DTYPES.items() if (rate := _rate(device, dtype))}
    buffer = torch.zeros(_BUFFER[device.type] // 4, device=device)
    return Machine(rates, buffer.nbytes / _best(device, buffer.sum))


def _rate(device: torch.device, dtype: torch.dtype) -> float | None:
    """None where the device has no such product."""
    side = _SIDE[device.type]
    values = torch.zeros(side, side) if dtype == torch.int8 else torch.rand(side, side)
    left, right = values.to(device, dtype), values.to(device, dtype).T
    # torch has no public name for the product of int8 matrices.
    product: Callable[[Tensor, Tensor], Tensor] = torch._int_mm if dtype == torch.int8 else torch.mm
    try:
        return 2.0 * side**3 / _best(device, lambda: product(left, right))
    except (RuntimeError, NotImplementedError):
        return None


def _best(device: torch.device, act: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    act()
    times: list[float] = []
    while not times or sum(times) < _TIME:
        synchronise(device)
        begin = time.perf_counter()
        act()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return min(times)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
