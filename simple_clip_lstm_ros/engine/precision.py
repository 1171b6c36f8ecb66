"""What a device and a precision mean, in one place."""

from __future__ import annotations

import torch

from simple_clip_lstm_ros.errors import ConfigError, DeviceError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the encoders. `auto` is float32 on a CPU, and on CUDA bfloat16 where it has it, else float16.

    Raises ConfigError for an unknown precision and DeviceError for one that the device cannot do.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("precision fp16 is emulated on a CPU and slower than fp32 by far; use fp32 or bf16")
    return _DTYPES[precision]
