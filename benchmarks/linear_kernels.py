"""Compare PyTorch's kernels for the encoders' Linear layers on this CPU, on the shapes of a frame.

    python benchmarks/linear_kernels.py

Prints the time of all Linear layers of a full-size frame, the rate, and the relative error of a layer against float64
on activations with a few large channels, as trained encoders have them. An unsupported kernel is listed with the
reason.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from watch import machine

from simple_clip_lstm_ros.engine.packed_linear import pack, pack_int8
from simple_clip_lstm_ros.errors import first_line

Layer = Callable[[Tensor], Tensor]

# Tokens, inputs, outputs, and number of such layers per frame: vision and text of Kosmos-2, vision of CLIP.
SHAPES = (
    (257, 1024, 1024, 96),
    (257, 1024, 4096, 24),
    (257, 4096, 1024, 24),
    (87, 2048, 2048, 96),
    (87, 2048, 8192, 24),
    (87, 8192, 2048, 24),
    (50, 768, 768, 48),
    (50, 768, 3072, 12),
    (50, 3072, 768, 12),
)


def plain(dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], Layer]:
    """Return the kernel of nn.Linear in `dtype`."""

    def make(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
        weight, bias = weight.to(dtype), bias.to(dtype)
        return lambda x: F.linear(x.to(dtype), weight, bias).float()

    return make


def packed(dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], Layer]:
    """Return oneDNN's kernel with a weight that is packed once, as in `engine/packed_linear.py`."""

    def make(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
        packed_weight, bias = pack(weight.to(dtype)), bias.to(dtype)
        return lambda x: F.linear(x.to(dtype), packed_weight, bias).float()

    return make


def packed_int8(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
    """Make an int8 layer with a scale per token, as in `engine/packed_linear.py`.

    Some products overflow on CPUs without VNNI.
    """
    packed_weight = pack_int8(*_quantize_rows(weight))
    return lambda x: F.linear(x, packed_weight, bias)


def weight_only(dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], Layer]:
    """Return torchao's int8 kernel as in `engine/quantization.py`; weights are upcast to `dtype` in each product."""
    from simple_clip_lstm_ros.engine.quantization import quantize, to_quantized_linear_weight

    def make(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
        int8_weight, bias = to_quantized_linear_weight(*quantize(weight), dtype), bias.to(dtype)
        return lambda x: F.linear(x.to(dtype), int8_weight, bias).float()

    return make


def int_mm(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
    """Make an int8 layer with a scale per token by torch._int_mm.

    It reorders the weight in each call.
    """
    values, scales = _quantize_rows(weight)
    values, scales = values.T, scales.T

    def layer(x: Tensor) -> Tensor:
        q, scale = _quantize_rows(x)
        return torch.addcmul(bias, torch._int_mm(q, values).float() * scales, scale)

    return layer


def fbgemm(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
    """Make an int8 layer with a scale per token by FBGEMM.

    FBGEMM has one scale for all tokens, so each token is normalized before. Some products overflow on CPUs without VNNI
    unless the weights have 7 bits.
    """
    values, scales = _quantize_rows(weight)
    zeros = torch.zeros(len(values), dtype=torch.int64)
    torch.backends.quantized.engine = "fbgemm"
    packed_weight = torch.ops.quantized.linear_prepack(
        torch._make_per_channel_quantized_tensor(values, scales[:, 0].double(), zeros, 0), None
    )

    def layer(x: Tensor) -> Tensor:
        size = x.abs().amax(dim=-1, keepdim=True)
        return torch.addcmul(bias, torch.ops.quantized.linear_dynamic(x / size, packed_weight, False), size)

    return layer


def onnx_dynamic(weight: Tensor, bias: Tensor, tokens: int) -> Layer:
    """Make an int8 layer by ONNX Runtime's dynamic quantization.

    It has one scale per activation tensor and one per row of the weight.
    """
    import tempfile
    from pathlib import Path

    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(layer, (torch.zeros(tokens, weight.shape[1]),), source, dynamo=False, input_names=["x"])
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def _quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize symmetrically with a scale per row; return int8 values and scales [rows, 1]."""
    scale = torch.linalg.vector_norm(x, math.inf, dim=-1, keepdim=True).clamp_min_(1e-12).div_(127.0)
    return (x / scale).round_().to(torch.int8), scale


KERNELS = {
    "float32": plain(torch.float32),
    "float32, packed": packed(torch.float32),
    "bfloat16": plain(torch.bfloat16),
    "bfloat16, packed": packed(torch.bfloat16),
    "int8 weights, in bfloat16 (torchao)": weight_only(torch.bfloat16),
    "int8 weights, in float32 (torchao)": weight_only(torch.float32),
    "int8, a scale a token, torch._int_mm": int_mm,
    "int8, a scale a token, oneDNN packed": packed_int8,
    "int8, a scale a token, FBGEMM": fbgemm,
    "int8, a scale a tensor, ONNX Runtime": onnx_dynamic,
}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", metavar="WORD", default="", help="kernels whose name contains it")
    args = parser.parse_args()
    print(f"{machine()}\n\n| kernel | all Linear layers of a frame, ms | G operations/s | error |\n|---|---|---|---|")
    operations = sum(2 * tokens * inputs * outputs * count for tokens, inputs, outputs, count in SHAPES)
    for name, make in KERNELS.items():
        if args.only in name:
            try:
                seconds, error = measure(make, args.runs)
            except (RuntimeError, NotImplementedError, AttributeError, ImportError) as problem:
                print(f"| {name} | not here: {first_line(problem).partition('. ')[0]} | | |", flush=True)
            else:
                print(f"| {name} | {1e3 * seconds:.0f} | {operations / seconds / 1e9:.0f} | {error:.2%} |", flush=True)


def measure(make: Callable[[Tensor, Tensor, int], Layer], runs: int) -> tuple[float, float]:
    """Return the seconds of all layers of a frame and the mean relative error.

    The time is of the fastest run of each shape; the error is against float64.
    """
    generator = torch.Generator().manual_seed(0)
    total, errors = 0.0, []
    for tokens, inputs, outputs, count in SHAPES:
        weight = torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs)
        bias = torch.randn(outputs, generator=generator)
        x = torch.randn(tokens, inputs, generator=generator)
        x[:, :: inputs // 8] *= 20.0
        layer = make(weight, bias, tokens)
        exact = F.linear(x.double(), weight.double(), bias.double())
        errors.append(float((layer(x).double() - exact).norm() / exact.norm()))
        times = []
        for _ in range(runs):
            begin = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - begin)
        total += count * min(times)
    return total, sum(errors) / len(errors)


if __name__ == "__main__":
    main()
