"""int8 weights that stay int8 in memory, with torchao.

The scheme is weight-only and symmetric with one float32 scale per output row; a layer's weight is upcast during its
multiplication. docs/benchmarks.md has the measurements behind this choice: int8 activations increase the error of the
features, finer scales reduce it a little and take three times as long. A scheme chosen for speed may differ.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

from simple_clip_lstm_ros.errors import describe_missing, first_line
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM

SCALE_DTYPE = torch.float32


def linear_weights(model: SimpleCLIPLSTM) -> frozenset[str]:
    """Return the names of the weights that int8 quantizes: every Linear layer of the encoders."""
    encoders = {"kosmos_model": model.kosmos_model, "clip_model": model.clip_model}
    return frozenset(
        f"{prefix}.{name}.weight"
        for prefix, encoder in encoders.items()
        if encoder is not None
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    )


def missing_dependency() -> str:
    """Return why int8 is unavailable here and what to do; empty if it is available."""
    if importlib.util.find_spec("torchao") is None:
        return describe_missing("precision int8", "torchao")
    try:
        from torchao.quantization import Int8Tensor  # noqa: F401
    except Exception as error:  # with a mismatched torch: an ImportError, an AttributeError, ...
        requirement = f"precision int8 needs torchao 0.16 or newer that fits torch {torch.__version__}"
        return f"{requirement}: {first_line(error)}"
    return ""


def quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize rows of a weight to int8 with one scale per row.

    Return values [rows, inputs] and scales [rows, 1].
    """
    from torchao.quantization import Int8Tensor, PerRow

    quantized = Int8Tensor.from_hp(rows.float(), PerRow())
    return quantized.qdata, quantized.scale


def to_quantized_linear_weight(values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a Linear layer's weight that computes in `dtype`.

    `values` is int8 [outputs, inputs], `scales` is [outputs, 1].
    """
    from torchao.quantization import Int8Tensor

    return Int8Tensor(values, scales, [1, values.shape[1]], dtype)
