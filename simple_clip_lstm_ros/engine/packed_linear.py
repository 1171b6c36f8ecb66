"""Weights of Linear layers in the layout that a CPU's kernels read, brought into it once and not at each product.

All are oneDNN's. int8 multiplies int8 by int8: an activation is quantised as it comes, with a scale for each token (as
ZeroQuant does, arXiv:2206.01861), the products are summed in int32 and scaled once.
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

# oneDNN lays a weight out for a number of rows; any near that of a frame's tokens gives the same layout.
_ROWS = 128
_SMALLEST = 1e-12  # of a scale: a token of zeros stays one


class PackedWeight(Tensor):
    """A weight [outputs, inputs] that can only be multiplied, by a Linear layer; its numbers cannot be had back."""

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
        if function is torch.ops.aten.detach.default:  # as a Parameter is made of it
            return cls(args[0].shape, args[0].dtype, args[0].product)
        raise NotImplementedError(f"a packed weight can only be multiplied, and this is {function}")


def _linear(inputs: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    return weight.product(inputs, bias)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this CPU and this PyTorch can pack weights of float32 or bfloat16."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> PackedWeight:
    """Of float32 or bfloat16 [outputs, inputs]; activations and bias are of that dtype as well."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)

    def product(inputs: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")

    return PackedWeight(weight.shape, weight.dtype, product)


def pack_int8(values: Tensor, scales: Tensor) -> PackedWeight:
    """Of int8 [outputs, inputs] and float32 scales [outputs, 1]; activations and bias are float32.

    Right on a CPU that `multiplies_int8`: others add the products of two pairs in 16 bits, where large ones overflow.
    """
    packed = torch.ops.onednn.qlinear_prepack(values, [_ROWS, values.shape[1]])
    rows, zeros = scales[:, 0].contiguous(), torch.zeros(len(values), dtype=torch.int64)

    def multiply(levels: Tensor, plus: Tensor | None) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 0, packed, rows, zeros, plus, 1.0, 0, torch.float32, "none", [], ""
        )

    # Activations are unsigned to the kernel, 128 more than they are: what that adds is known beforehand.
    excess = -128.0 * multiply(torch.ones(1, values.shape[1], dtype=torch.uint8), None)[0]

    def product(inputs: Tensor, bias: Tensor | None) -> Tensor:
        size = inputs.abs().amax(dim=-1, keepdim=True).clamp_min_(_SMALLEST).div_(127.0)
        outputs = multiply((inputs / size).round_().to(torch.int8).view(torch.uint8).add_(128), excess)
        return outputs.mul_(size) if bias is None else torch.addcmul(bias, outputs, size)

    return PackedWeight(values.shape, torch.float32, product)
