"""Ways of computing the encoders' Linear layers, which are nearly all of a frame's work.

An engine is told a weight and gives the one that the layer gets; the model does not know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from simple_clip_lstm_ros.engine.cpu import has_int8_dot
from simple_clip_lstm_ros.engine.packed_linear import can_pack, pack, pack_int8
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.engine.quantization import to_quantized_linear_weight
from simple_clip_lstm_ros.errors import ConfigError


class LinearBackend(Protocol):
    """`copies`: a weight takes memory of its own even where it could stay mapped from the file."""

    name: str
    needs_copy: bool

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        """Why this engine cannot be had there, and what can; empty where it can."""

    def weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        """A Linear layer's, of `values` [outputs, inputs]; of int8 with `scales` [outputs, 1], computing in `dtype`."""


class EagerBackend:
    """PyTorch's own products. An int8 weight is widened for the moment of its multiplication."""

    name = "eager"
    needs_copy = False

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        return ""

    def weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        return values if scales is None else to_quantized_linear_weight(values, scales, dtype)


class PackedBackend:
    """On an x86-64 CPU: weights in the layout that its kernels read. int8 is multiplied as int8."""

    name = "packed"
    needs_copy = True

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        if device.type != "cpu":
            return f"engine packed is for a CPU and not for {device}; use engine eager"
        if not can_pack(torch.float32):
            return "engine packed needs an x86-64 CPU and a PyTorch with oneDNN; use engine eager"
        if precision.name == "bf16" and not can_pack(torch.bfloat16):
            return "engine packed at precision bf16 needs a CPU with AVX-512; use engine eager, or precision fp32"
        if precision.name == "int8" and not has_int8_dot():
            return "engine packed at precision int8 needs a CPU with AVX512-VNNI or AMX; use engine eager"
        return ""

    def weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        return pack(values) if scales is None else pack_int8(values, scales)


_BACKENDS: tuple[LinearBackend, ...] = (PackedBackend(), EagerBackend())  # the faster first
ENGINES = ("auto", *(engine.name for engine in _BACKENDS))


@dataclass(frozen=True)
class ExecutionConfig:
    """How a model is held and computed."""

    precision: Precision
    engine: LinearBackend

    def __str__(self) -> str:
        return f"{self.precision.name} {self.engine.name}"


def linear_backends(name: str, precision: Precision) -> list[LinearBackend]:
    """Those that `name` allows, best first. Raises ConfigError for one that is none.

    `auto` leaves float32 as it is, mapped from the file: there packing gains least, and takes most time and memory.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    if name == "auto":
        name = "eager" if precision.name == "fp32" else name
    return [engine for engine in _BACKENDS if name in ("auto", engine.name)]
