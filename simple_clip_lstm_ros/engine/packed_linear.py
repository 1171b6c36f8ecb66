"""Linear weights packed once into the layout of the CPU kernels, instead of at each product.

All kernels are oneDNN's. int8 weights multiply int8 activations: an activation is quantized dynamically with one scale
per token (as in ZeroQuant, arXiv:2206.01861), the products are summed in int32 and scaled once.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Activations [..., inputs] and a bias [outputs] or None -> [..., outputs].
Product = Callable[[Tensor, Tensor | None], Tensor]

# oneDNN chooses the layout for a number of rows; any number near a frame's tokens gives the same layout.
_ROWS = 128
_MIN_SCALE = 1e-12  # keeps a token of zeros at zero


class PackedWeight(Tensor):
    """A weight [outputs, inputs] that only a Linear layer can multiply; its values cannot be read back."""

    @staticmethod
    def __new__(cls, shape: torch.Size, dtype: torch.dtype, product: Product) -> PackedWeight:
        return Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, requires_grad=False)

    def __init__(self, shape: torch.Size, dtype: torch.dtype, product: Product) -> None:
        self.product = product

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PackedWeight({list(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.linear:
            return _linear(*args, **(kwargs or {}))
        return super().__torch_function__(function, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if function is torch.ops.aten.detach.default:  # called when a Parameter is made of the weight
            return cls(args[0].shape, args[0].dtype, args[0].product)
        raise NotImplementedError(f"a packed weight can only be multiplied, and this is {function}")


def _linear(inputs: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    return weight.product(inputs, bias)


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this CPU and this PyTorch can pack weights of `dtype` (float32 or bfloat16)."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> PackedWeight:
    """Pack a float32 or bfloat16 weight [outputs, inputs]; activations and bias have the same dtype."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)

    def product(inputs: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")

    return PackedWeight(weight.shape, weight.dtype, product)


def pack_int8(values: Tensor, scales: Tensor) -> PackedWeight:
    """Pack int8 values [outputs, inputs] with float32 scales [outputs, 1]; activations and bias are float32.

    Correct only on a CPU with `has_int8_dot`: others add two pairs of products in 16 bits, where large ones overflow.
    """
    packed = torch.ops.onednn.qlinear_prepack(values, [_ROWS, values.shape[1]])
    row_scales, zeros = scales[:, 0].contiguous(), torch.zeros(len(values), dtype=torch.int64)

    def multiply(levels: Tensor, addend: Tensor | None) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 0, packed, row_scales, zeros, addend, 1.0, 0, torch.float32, "none", [], ""
        )

    # The kernel takes unsigned activations, 128 larger than the signed ones; the added sum is a constant.
    offset = -128.0 * multiply(torch.ones(1, values.shape[1], dtype=torch.uint8), None)[0]

    def product(inputs: Tensor, bias: Tensor | None) -> Tensor:
        scale = inputs.abs().amax(dim=-1, keepdim=True).clamp_min_(_MIN_SCALE).div_(127.0)
        outputs = multiply((inputs / scale).round_().to(torch.int8).view(torch.uint8).add_(128), offset)
        return outputs.mul_(scale) if bias is None else torch.addcmul(bias, outputs, scale)

    return PackedWeight(values.shape, torch.float32, product)
