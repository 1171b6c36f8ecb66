"""int8 weights that stay int8 in memory, by torchao.

The scheme is weight-only, symmetric, one float32 scale for each output row; a layer's weight is widened for the moment
of its multiplication. docs/benchmarks.md has the measurements that chose it: activations in int8 as well lose more of
the features, finer scales lose a little less and take three times as long. Speed may choose another.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

from simple_clip_lstm_ros.errors import first_line
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

SCALE_DTYPE = torch.float32


def linear_weights(model: SimpleCLIPLSTM) -> frozenset[str]:
    """Names of the weights that are int8 at that precision: of every Linear layer in the two encoders."""
    encoders = {"kosmos_model": model.kosmos_model, "clip_model": model.clip_model}
    return frozenset(
        f"{prefix}.{name}.weight"
        for prefix, encoder in encoders.items()
        if encoder is not None
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    )


def missing_dependency() -> str:
    """Why int8 cannot be had here, and what to do; empty where it can."""
    if importlib.util.find_spec("torchao") is None:
        return "precision int8 needs torchao: pip install torchao"
    try:
        from torchao.quantization import Int8Tensor  # noqa: F401
    except Exception as error:  # of another torch it misses a name: an ImportError, an AttributeError, ...
        fitting = f"precision int8 needs torchao 0.16 or newer that fits torch {torch.__version__}"
        return f"{fitting}: {first_line(error)}"
    return ""


def quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of a weight, [rows, inputs] -> int8 of the same shape and their scales [rows, 1]."""
    from torchao.quantization import Int8Tensor, PerRow

    quantised = Int8Tensor.from_hp(rows.float(), PerRow())
    return quantised.qdata, quantised.scale


def to_quantized_linear_weight(values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """A Linear layer's weight of int8 `values` [outputs, inputs] and `scales` [outputs, 1] that computes in `dtype`."""
    from torchao.quantization import Int8Tensor

    return Int8Tensor(values, scales, [1, values.shape[1]], dtype)
