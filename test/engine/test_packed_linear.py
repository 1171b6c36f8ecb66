"""Packed weights: what a Linear layer gives with one is what it gives without, to the rounding of its precision."""

from __future__ import annotations

import platform
import time

import pytest
import torch
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from simple_clip_lstm_ros.engine.cpu import has_int8_dot
from simple_clip_lstm_ros.engine.linear_backends import ENGINES, EagerBackend, PackedBackend, linear_backends
from simple_clip_lstm_ros.engine.packed_linear import PackedWeight, pack, pack_int8
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FP32, BF16, INT8 = (
    Precision("fp32", torch.float32),
    Precision("bf16", torch.bfloat16),
    Precision("int8", torch.bfloat16, upcasts=True),
)

pytestmark = pytest.mark.skipif(
    bool(PackedBackend().unsupported_reason(FP32, CPU)), reason="engine packed is for x86-64"
)

# Of a weight whose products no CPU overflows: see pack_int8.
_SMALL = 63
sizes = st.tuples(st.integers(1, 40), st.integers(1, 90), st.integers(1, 40))  # tokens, inputs, outputs


def drawn(shape: tuple[int, int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, inputs, outputs = shape
    generator = torch.Generator().manual_seed(seed)
    parts = ((1, tokens, inputs), (outputs, inputs), (outputs,))
    return tuple(torch.randn(part, generator=generator) for part in parts)  # type: ignore[return-value]


def quantised(weight: torch.Tensor, largest: int) -> tuple[torch.Tensor, torch.Tensor]:
    scales = weight.abs().amax(dim=1, keepdim=True) / largest
    return (weight / scales).round().to(torch.int8), scales


@settings(max_examples=scale_examples(40), deadline=None)
@given(sizes, st.integers(0, 99), st.booleans())
def test_a_packed_float32_weight_multiplies_as_it_did(shape, seed, biased):
    inputs, weight, bias = drawn(shape, seed)
    found = F.linear(inputs, pack(weight), bias if biased else None)
    torch.testing.assert_close(found, F.linear(inputs, weight, bias if biased else None), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    bool(PackedBackend().unsupported_reason(BF16, CPU)), reason="this CPU has no bfloat16 for the engine packed"
)
def test_a_packed_bfloat16_weight_multiplies_as_it_did():
    inputs, weight, bias = (part.bfloat16() for part in drawn((30, 80, 40), 0))
    found = F.linear(inputs, pack(weight), bias)
    torch.testing.assert_close(found, F.linear(inputs, weight, bias), rtol=2e-2, atol=2e-2)


@settings(max_examples=scale_examples(40), deadline=None)
@given(sizes, st.integers(0, 99), st.booleans(), st.integers(-6, 6))
def test_int8_errs_by_no_more_than_the_rounding_of_activations(shape, seed, biased, power):
    """However large or small a token is: each has a scale of its own."""
    inputs, weight, bias = drawn(shape, seed)
    inputs = inputs * 10.0 ** (power * torch.linspace(-1, 1, shape[0]))[:, None]
    levels, scales = quantised(weight, _SMALL)
    found = F.linear(inputs, pack_int8(levels, scales), bias if biased else None).double()
    exact = F.linear(inputs.double(), levels * scales.double(), bias.double() if biased else None)
    # Half a level of each activation, times the weights that it meets; and float32's own rounding.
    half = inputs.abs().amax(dim=-1, keepdim=True).double() / 127 / 2
    bound = half * (levels * scales.double()).abs().sum(dim=1) * 1.01 + 1e-4 * (1 + exact.abs())
    assert ((found - exact).abs() <= bound).all()


@pytest.mark.skipif(not has_int8_dot(), reason="this CPU adds products of int8 in 16 bits; the engine is not for it")
def test_the_largest_products_do_not_overflow():
    levels, scales = torch.full((64, 512), 127, dtype=torch.int8), torch.full((64, 1), 1 / 127)
    found = F.linear(torch.ones(1, 4, 512), pack_int8(levels, scales))
    torch.testing.assert_close(found, torch.full((1, 4, 64), 512.0), rtol=1e-3, atol=0.0)


def test_a_token_of_zeros_gives_the_bias():
    levels, scales = quantised(torch.randn(8, 16), _SMALL)
    bias = torch.arange(8.0)
    assert torch.equal(F.linear(torch.zeros(1, 2, 16), pack_int8(levels, scales), bias), bias.expand(1, 2, 8))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so_and_in_its_token(wrong):
    inputs, (levels, scales) = torch.ones(1, 2, 16), quantised(torch.randn(8, 16), _SMALL)
    inputs[0, 1, 3] = wrong
    for weight in (pack_int8(levels, scales), pack(levels * scales)):
        found = F.linear(inputs, weight, torch.zeros(8))
        assert found[0, 0].isfinite().all() and not found[0, 1].isfinite().any()


def test_a_layer_takes_it_as_a_parameter_by_its_state_dict():
    layer = nn.Linear(16, 8).requires_grad_(False)
    inputs = torch.randn(3, 16)
    before = layer(inputs)
    layer.load_state_dict({"weight": pack(layer.weight), "bias": layer.bias}, assign=True)
    assert isinstance(layer.weight, PackedWeight) and layer.weight.shape == (8, 16)
    torch.testing.assert_close(layer(inputs), before)


def test_its_numbers_cannot_be_had_by_mistake():
    weight = pack(torch.ones(8, 16))
    for act in (lambda: weight + 1.0, lambda: weight.clone(), lambda: weight.T @ torch.ones(8)):
        with pytest.raises(NotImplementedError, match="a packed weight can only be multiplied"):
            act()
    assert repr(weight) == "PackedWeight([8, 16], torch.float32)"


def test_packing_pays():
    """Of the text tower's feed-forward part; both in turn, the fastest of each."""
    inputs, weight, bias = drawn((87, 2048, 4096), 0)
    packed = pack(weight)
    times: dict[str, list[float]] = {"eager": [], "packed": []}
    for _ in range(8):
        for name, matrix in (("eager", weight), ("packed", packed)):
            begin = time.perf_counter()
            F.linear(inputs, matrix, bias)
            times[name].append(time.perf_counter() - begin)
    assert min(times["packed"]) < 1.1 * min(times["eager"])


# Which engine.


def test_auto_leaves_float32_mapped_and_packs_what_is_narrow():
    assert [engine.name for engine in linear_backends("auto", FP32)] == ["eager"]
    for narrow in (BF16, INT8):
        assert [engine.name for engine in linear_backends("auto", narrow)] == ["packed", "eager"]


@pytest.mark.parametrize("name", ["packed", "eager"])
def test_one_that_is_asked_for_is_the_only_one(name):
    assert [engine.name for engine in linear_backends(name, FP32)] == [name]
    assert name in ENGINES


@pytest.mark.parametrize("name", ["", "onnx", "Packed"])
def test_an_engine_that_is_none_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigError, match=rf"^engine '{name}' .*auto, packed, eager$"):
        linear_backends(name, FP32)


def test_packed_says_where_it_cannot_be_had_and_what_can(monkeypatch):
    assert all(word in PackedBackend().unsupported_reason(FP32, CUDA) for word in ("cuda", "use engine eager"))
    module = "simple_clip_lstm_ros.engine.linear_backends"
    for computes, told in ((True, ""), (False, "needs a CPU with AVX512-VNNI or AMX; use engine eager")):
        monkeypatch.setattr(f"{module}.has_int8_dot", lambda computes=computes: computes)
        assert PackedBackend().unsupported_reason(INT8, CPU).endswith(told) and bool(
            PackedBackend().unsupported_reason(INT8, CPU)
        ) == bool(told)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "needs an x86-64 CPU" in PackedBackend().unsupported_reason(FP32, CPU)


def test_eager_lacks_nothing_anywhere():
    assert not any(
        EagerBackend().unsupported_reason(precision, device)
        for precision in (FP32, BF16, INT8)
        for device in (CPU, CUDA)
    )
