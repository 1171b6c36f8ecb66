"""Backends for the encoders' Linear layers, which account for nearly all of a frame's work.

A backend turns stored values into the weight of a layer; the model does not depend on the backend.
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
    """Interface of a backend.

    `needs_copy`: a weight takes memory of its own even if it could stay mapped from the file.
    """

    name: str
    needs_copy: bool

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        """Return why this backend is unsupported, with an alternative; "" if supported."""

    def make_weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return a Linear layer's weight of `values` [outputs, inputs].

        int8 values come with `scales` [outputs, 1]; such a weight computes in `dtype`.
        """


class EagerBackend:
    """PyTorch's own matrix products. An int8 weight is upcast during its multiplication."""

    name = "eager"
    needs_copy = False

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        return ""

    def make_weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        return values if scales is None else to_quantized_linear_weight(values, scales, dtype)


class PackedBackend:
    """Weights in the layout of the x86-64 CPU kernels. int8 is multiplied as int8."""

    name = "packed"
    needs_copy = True

    def unsupported_reason(self, precision: Precision, device: torch.device) -> str:
        if device.type != "cpu":
            return f"engine packed runs on CPUs only, not on {device}; use engine eager"
        if not can_pack(torch.float32):
            return "engine packed needs an x86-64 CPU and a PyTorch with oneDNN; use engine eager"
        if precision.name == "bf16" and not can_pack(torch.bfloat16):
            return "engine packed at precision bf16 needs a CPU with AVX-512; use engine eager, or precision fp32"
        if precision.name == "int8" and not has_int8_dot():
            return "engine packed at precision int8 needs a CPU with AVX512-VNNI or AMX; use engine eager"
        return ""

    def make_weight(self, values: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
        return pack(values) if scales is None else pack_int8(values, scales)


_BACKENDS: tuple[LinearBackend, ...] = (PackedBackend(), EagerBackend())  # the faster one first
ENGINES = ("auto", *(engine.name for engine in _BACKENDS))


@dataclass(frozen=True)
class ExecutionConfig:
    """Precision and linear backend of a model."""

    precision: Precision
    engine: LinearBackend

    def __str__(self) -> str:
        return f"{self.precision.name} {self.engine.name}"


def linear_backends(name: str, precision: Precision) -> list[LinearBackend]:
    """Return the backends that `name` allows, best first. Raise ConfigError for an unknown name.

    `auto` leaves float32 eager and mapped from the file: packing gains least there, and takes most time and memory.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    if name == "auto":
        name = "eager" if precision.name == "fp32" else name
    return [engine for engine in _BACKENDS if name in ("auto", engine.name)]
