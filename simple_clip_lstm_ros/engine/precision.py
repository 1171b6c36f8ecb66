"""Resolve device and precision names to torch devices and dtypes."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch

from simple_clip_lstm_ros.engine.cpu import has_native_bf16
from simple_clip_lstm_ros.errors import ConfigError, DeviceError

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ENCODERS = ("kosmos_model.", "clip_model.")


@dataclass(frozen=True)
class Precision:
    """The dtypes of a model's tensors at a precision other than `auto`.

    The encoders compute in `compute_dtype`. At int8 their Linear layers have int8 weights; norms, biases, convolutions,
    embeddings, positions and latent queries stay in `dtype`. `feature_fusion`, `rnn` and `actions` are small, decide
    the action and are always float32.

    `upcasts`: tensors other than int8 are rounded to `dtype` but computed in float32, which is faster on a CPU.
    """

    name: str
    dtype: torch.dtype
    upcasts: bool = False

    @property
    def compute_dtype(self) -> torch.dtype:
        """Return the dtype of the encoders' activations."""
        return torch.float32 if self.upcasts else self.dtype

    def dtype_of(self, tensor: str, linear_weights: Container[str]) -> torch.dtype:
        """Return the dtype of a tensor by its name.

        `linear_weights` holds the names of the weights of the encoders' Linear layers.
        """
        if not tensor.startswith(_ENCODERS):
            return torch.float32
        return torch.int8 if self.name == "int8" and tensor in linear_weights else self.dtype


def resolve_device(name: str) -> torch.device:
    """Return the device named `auto`, `cpu`, `cuda` or `cuda:N`.

    `auto` is CUDA if there is a CUDA device, else the CPU. Raise ConfigError for another name and DeviceError for a
    device that does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {name}: this PyTorch ({torch.__version__}) finds no CUDA device; use device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name}: there are only {torch.cuda.device_count()} CUDA devices here")
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the precision `name` (not `auto`). Raise DeviceError if the device does not support it."""
    if name == "fp16" and device.type == "cpu":
        raise DeviceError(
            "precision fp16 is not for a CPU, where it is mostly emulated and slower than fp32 by far; use fp32 or bf16"
        )
    # int8 never uses float16: products are scaled after the multiplication and would overflow before that.
    return Precision(name, _DTYPES.get(name, torch.bfloat16), upcasts=name == "int8" and device.type == "cpu")


def storage_precision(name: str, stored: str) -> Precision:
    """Return the precision of a bundle that is written for any device.

    `stored` is the precision of the source's weights; an empty `name` keeps it. Raise ConfigError for `auto`, an
    unknown precision, or another precision for int8 weights.
    """
    _check_precision(name or stored, stored)
    if name == "auto":
        raise ConfigError("a bundle has one precision: fp32, bf16, fp16 or int8")
    return Precision(name or stored, _DTYPES.get(name or stored, torch.bfloat16))


def candidates(name: str, device: torch.device, stored: str) -> list[Precision]:
    """Return the precisions that `name` allows for weights `stored` at a precision, best first.

    With `auto`, the first one that fits is taken. On a CPU the best is float32; on CUDA it is bfloat16 if the GPU has
    it, else float16. A precision wider than the stored one is left out if it takes memory and gives neither accuracy
    nor speed. Raise ConfigError for an unknown precision, or for one that int8 weights can no longer give.
    """
    _check_precision(name, stored)
    if name != "auto":
        return [resolve_precision(name, device)]
    if stored == "int8":
        names = ["int8"]
    elif device.type == "cuda":
        names = [stored if stored != "fp32" else _half_precision(device), "int8"]
    else:
        # Only float32 holds float16 exactly. bfloat16 weights are exact in both, and take half the memory in bf16.
        names = ["bf16", "int8"] if stored == "bf16" and has_native_bf16() else ["fp32", "bf16", "int8"]
    return [resolve_precision(name, device) for name in names]


def _check_precision(name: str, stored: str) -> None:
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")
    if stored == "int8" and name not in ("auto", "int8"):
        raise ConfigError(f"precision {name}: int8 weights cannot be converted back; convert their source again")


def stored_precision(dtype: torch.dtype, *, quantized: bool) -> str:
    """Return the name of the precision of stored encoders.

    Raise ConfigError for a dtype that matches no precision.
    """
    if quantized:
        return "int8"
    names = {dtype: name for name, dtype in _DTYPES.items()} | {torch.float64: "fp32"}
    if dtype not in names:
        raise ConfigError(f"the encoders' weights are stored as {dtype}, which is not a supported precision")
    return names[dtype]


def _half_precision(device: torch.device) -> str:
    # bfloat16 is native from Ampere on; on older GPUs PyTorch claims support and emulates it.
    return "bf16" if torch.cuda.get_device_properties(device).major >= 8 else "fp16"
