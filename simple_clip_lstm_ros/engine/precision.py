"""What a device and a precision mean, in one place."""

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
    """What the tensors of a model are at a precision that is not `auto`.

    The encoders compute in `arithmetic`. At int8 their Linear layers have int8 weights; what stays in `dtype` there:
    norms, biases, convolutions, embeddings, positions, latent queries. `feature_fusion`, `rnn` and `actions` are small,
    decide the action and are float32 always.

    `widens`: what is not int8 is rounded to `dtype`, but computed in float32, in which a CPU is faster.
    """

    name: str
    dtype: torch.dtype
    upcasts: bool = False

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of the encoders' activations."""
        return torch.float32 if self.upcasts else self.dtype

    def dtype_of(self, tensor: str, linear_weights: Container[str]) -> torch.dtype:
        """Of the tensor of this name, where `linear_weights` names those of the encoders' Linear layers."""
        if not tensor.startswith(_ENCODERS):
            return torch.float32
        return torch.int8 if self.name == "int8" and tensor in linear_weights else self.dtype


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises ConfigError for another word and DeviceError for a device that is not there.
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
    """The precision of this `name` (not `auto`). Raises DeviceError for one that the device cannot do."""
    if name == "fp16" and device.type == "cpu":
        raise DeviceError(
            "precision fp16 is not for a CPU, where it is mostly emulated and slower than fp32 by far; use fp32 or bf16"
        )
    # Never float16 at int8: products are scaled after the multiplication, and would overflow before.
    return Precision(name, _DTYPES.get(name, torch.bfloat16), upcasts=name == "int8" and device.type == "cpu")


def storage_precision(name: str, stored: str) -> Precision:
    """That of a bundle to be written for any device, of weights that are `stored` at a precision; "" is that one."""
    _check(name or stored, stored)
    if name == "auto":
        raise ConfigError("a bundle has one precision: fp32, bf16, fp16 or int8")
    return Precision(name or stored, _DTYPES.get(name or stored, torch.bfloat16))


def candidates(name: str, device: torch.device, stored: str) -> list[Precision]:
    """What `name` allows for weights `stored` at a precision, best first: of `auto` the first that fits is taken.

    On a CPU best is float32, on CUDA bfloat16 where it has it, else float16; not wider than what is stored where that
    would take memory and give neither accuracy nor speed. Raises ConfigError for an unknown precision or one that int8
    weights cannot give any more.
    """
    _check(name, stored)
    if name != "auto":
        return [resolve_precision(name, device)]
    if stored == "int8":
        names = ["int8"]
    elif device.type == "cuda":
        names = [stored if stored != "fp32" else _half(device), "int8"]
    else:
        # float16 is kept by float32 alone; bfloat16 as well, but takes half the memory.
        names = ["bf16", "int8"] if stored == "bf16" and has_native_bf16() else ["fp32", "bf16", "int8"]
    return [resolve_precision(name, device) for name in names]


def _check(name: str, stored: str) -> None:
    if name not in PRECISIONS:
        raise ConfigError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")
    if stored == "int8" and name not in ("auto", "int8"):
        raise ConfigError(f"precision {name}: these weights are int8 and cannot go back; convert their source again")


def stored_precision(dtype: torch.dtype, *, quantised: bool) -> str:
    """The name of the precision at which encoders are stored. Raises ConfigError for a dtype that is none."""
    if quantised:
        return "int8"
    names = {dtype: name for name, dtype in _DTYPES.items()} | {torch.float64: "fp32"}
    if dtype not in names:
        raise ConfigError(f"the encoders' weights are stored as {dtype}, which is no precision of a model")
    return names[dtype]


def _half(device: torch.device) -> str:
    # From Ampere on; before, PyTorch says that bfloat16 is supported and emulates it.
    return "bf16" if torch.cuda.get_device_properties(device).major >= 8 else "fp16"
