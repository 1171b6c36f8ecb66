"""int8 weights: which they are, how they are made, and that they compute what the widened weights compute."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import simple_clip_lstm_ros
from simple_clip_lstm_ros.checkpoint.build import build_model, expected_shapes
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.engine.quantization import (
    SCALE_DTYPE,
    linear_weights,
    missing_dependency,
    quantize,
    to_quantized_linear_weight,
)

TINY = REFERENCE_CONFIGS["tiny"]
WITHOUT_CLIP = replace(TINY, clip=None, features=("kosmos_text",))


def drawn(rows: int, inputs: int, seed: int = 0) -> torch.Tensor:
    """Weights whose rows are of very different size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10.0 ** torch.linspace(-4, 2, rows)[:, None]
    return torch.randn(rows, inputs, generator=generator) * sizes


# Which weights.


@pytest.mark.parametrize("config", [TINY, WITHOUT_CLIP], ids=["with CLIP", "without CLIP"])
def test_they_are_the_weights_of_every_linear_layer_of_the_encoders(config):
    model = build_model(config)
    # By what Hugging Face names: of two dimensions is a Linear layer's weight, or an embedding, positions and latents.
    matrices = {
        name
        for name, shape in expected_shapes(model).items()
        if name.startswith(("kosmos_model.", "clip_model.")) and len(shape) == 2 and name.endswith(".weight")
    }
    assert linear_weights(model) == {name for name in matrices if "embed" not in name}
    assert {"kosmos_model.image_to_text_projection.dense.weight"} <= linear_weights(model)
    assert ("clip_model.visual_projection.weight" in linear_weights(model)) == (config.clip is not None)


def test_their_names_are_those_of_the_checkpoint():
    model = build_model(TINY)
    assert linear_weights(model) <= expected_shapes(model).keys()


@pytest.mark.parametrize("profile", ["seed", "published"])
def test_at_full_size_they_are_most_of_the_model(profile):
    model = build_model(REFERENCE_CONFIGS[profile])
    sizes = {name: torch.Size(shape).numel() for name, shape in expected_shapes(model).items()}
    assert sum(sizes[name] for name in linear_weights(model)) > 0.85 * sum(sizes.values())


# How they are made.


@pytest.mark.int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_row_has_a_scale_by_which_its_largest_becomes_the_largest_int8(dtype):
    weight = drawn(12, 64).to(dtype)
    values, scales = quantize(weight)
    assert (values.dtype, values.shape) == (torch.int8, weight.shape)
    assert (scales.dtype, scales.shape) == (SCALE_DTYPE, (12, 1))
    assert (values.int().abs().amax(dim=1) >= 127).all()
    assert torch.allclose(scales * 127.5, weight.float().abs().amax(dim=1, keepdim=True), rtol=0.01)


@pytest.mark.int8
@settings(deadline=None, max_examples=scale_examples(40), derandomize=True)
@given(st.integers(1, 9), st.integers(2, 70), st.integers(0, 1000))
def test_no_value_moves_by_more_than_half_a_step(rows, inputs, seed):
    weight = drawn(rows, inputs, seed)
    values, scales = quantize(weight)
    moved = (values.float() * scales - weight).abs()
    # The largest of a row may be rounded into the range of int8: up to a whole step.
    assert (moved <= scales * 1.001).all()
    inner = values.int().abs() < 127
    assert (moved[inner] <= (scales * 0.501).expand_as(moved)[inner]).all()


@pytest.mark.int8
def test_rows_are_quantised_each_by_itself():
    """So that a weight may be quantised piece by piece."""
    weight = drawn(12, 64)
    values, scales = quantize(weight)
    pieces = [quantize(weight[start : start + 5]) for start in range(0, 12, 5)]
    assert torch.equal(torch.cat([piece for piece, _ in pieces]), values)
    assert torch.equal(torch.cat([scale for _, scale in pieces]), scales)


@pytest.mark.int8
def test_a_row_of_zeros_stays_so():
    values, scales = quantize(torch.cat((torch.zeros(1, 16), torch.ones(1, 16))))
    assert not values[0].any() and values[1].all()
    assert scales.isfinite().all()


# What they compute.


def linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=bias.dtype)
    layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return layer


@pytest.mark.int8
@pytest.mark.parametrize("shape", [(7, 128), (1, 7, 128), (1, 128)], ids=str)
@torch.inference_mode()
def test_they_compute_what_the_widened_weights_compute(shape):
    generator = torch.Generator().manual_seed(1)
    values, scales = quantize(torch.randn(96, 128, generator=generator))
    bias = torch.randn(96, generator=generator).bfloat16()
    inputs = torch.randn(*shape, generator=generator).bfloat16()
    exact = nn.functional.linear(inputs.double(), values.double() * scales.double(), bias.double())
    found = linear(to_quantized_linear_weight(values, scales, torch.bfloat16), bias)(inputs)
    assert found.dtype == torch.bfloat16 and found.shape == exact.shape
    # bfloat16 has eight bits: weights, sum and result are each rounded to them.
    error = (found.double() - exact).abs()
    assert error.max() < 2**-7 * exact.abs().max()
    assert error.norm() < 2**-8 * exact.norm() * 1.5


@pytest.mark.int8
@torch.inference_mode()
def test_each_output_has_its_own_scale():
    values = torch.full((3, 4), 2, dtype=torch.int8)
    scales = torch.tensor([[1.0], [10.0], [0.5]])
    found = linear(to_quantized_linear_weight(values, scales, torch.bfloat16), torch.zeros(3, dtype=torch.bfloat16))(
        torch.ones(1, 4, dtype=torch.bfloat16)
    )
    assert found.tolist() == [[8.0, 80.0, 4.0]]


@pytest.mark.int8
def test_they_stay_int8_in_memory():
    values, scales = quantize(drawn(64, 256))
    weight = to_quantized_linear_weight(values, scales, torch.bfloat16)
    assert (weight.shape, weight.dtype) == (torch.Size((64, 256)), torch.bfloat16)
    assert weight.qdata.data_ptr() == values.data_ptr(), "no copy is made"


# Where they cannot be had.


def refusal(folder: Path, before: str = "") -> str:
    """What what_lacks says in a process of its own that finds packages in this folder first."""
    code = f"""
import sys
{before}
from simple_clip_lstm_ros.engine.quantization import missing_dependency
print(missing_dependency(), end="")
"""
    root = Path(simple_clip_lstm_ros.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{root}"}
    outcome = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.int8
def test_where_the_library_is_there_nothing_is_said():
    assert missing_dependency() == ""


def test_without_the_library_it_is_refused_with_the_command_that_installs_it(tmp_path):
    # As if it were not installed: hidden before transformers looks for it.
    told = refusal(tmp_path, "sys.modules['torchao'] = None")
    assert told == "precision int8 needs torchao: pip install 'simple_clip_lstm_ros[int8]'"


@pytest.mark.parametrize(
    "problem",
    ["", "raise ImportError('undefined symbol')", "raise AttributeError('torch has no attribute x')"],
    ids=["too old", "made for another torch", "too new for this torch"],
)
def test_with_a_library_that_does_not_fit_it_is_refused_with_what_is_needed(tmp_path, problem, monkeypatch):
    package = tmp_path / "torchao" / "quantization"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(problem + "\n")
    ours = [name for name in sys.modules if name.partition(".")[0] == "torchao"]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        told = missing_dependency()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
            del sys.modules[name]
    assert "needs torchao 0.16 or newer that fits torch" in told and "\n" not in told
