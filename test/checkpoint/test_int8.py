"""int8: weights that are int8 in memory, with an error that is bounded by their scales, and nothing else int8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import scale_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load_file, save_file
from torch import nn

import simple_clip_lstm_ros
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.errors import CheckpointError

torchao = pytest.importorskip("torchao.quantization")
from simple_clip_lstm_ros.engine.quantization import quantize, to_quantized_linear_weight  # noqa: E402

matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 40)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


@settings(max_examples=scale_examples(60), deadline=None)
@given(matrices)
def test_the_error_of_a_row_is_at_most_half_its_scale(values: np.ndarray) -> None:
    weights = torch.from_numpy(values)
    levels, scales = quantize(weights)
    assert (levels.dtype, scales.dtype) == (torch.int8, torch.float32)
    assert (levels.shape, scales.shape) == (weights.shape, (len(weights), 1))
    error = (levels.double() * scales.double() - weights.double()).abs()
    assert (error <= 0.5 * scales.double() * (1 + 1e-4)).all()
    # A scale that is far too coarse would keep the bound and lose the weights.
    largest = weights.double().abs().amax(dim=1, keepdim=True)
    assert (scales.double() <= largest / 126 + 1e-6).all()


@settings(max_examples=scale_examples(20), deadline=None)
@given(matrices)
def test_rows_are_quantised_each_for_itself(values: np.ndarray) -> None:
    weights = torch.from_numpy(values)
    together, alone = quantize(weights), [quantize(row[None]) for row in weights]
    assert torch.equal(together[0], torch.cat([levels for levels, _ in alone]))
    assert torch.equal(together[1], torch.cat([scales for _, scales in alone]))


def test_a_layer_multiplies_by_levels_times_scales() -> None:
    torch.manual_seed(0)
    levels, scales = quantize(torch.randn(7, 24))
    layer = nn.Linear(24, 7, bias=False).bfloat16().requires_grad_(False)
    layer.weight = nn.Parameter(to_quantized_linear_weight(levels, scales, torch.bfloat16), requires_grad=False)
    inputs = torch.randn(3, 24).bfloat16()
    exact = inputs.double() @ (levels.double() * scales.double()).T
    torch.testing.assert_close(layer(inputs).double(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("source", ["checkpoint", "bundle"])
def test_the_encoders_linear_weights_are_int8_in_memory_and_nothing_else_is(
    tiny: Path, bundles: dict[str, Path], source: str
) -> None:
    model = load_policy(tiny if source == "checkpoint" else bundles["int8"], precision="int8", engine="eager").model
    encoders = ("kosmos_model.", "clip_model.")
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(encoders)
    }
    assert len(linear) > 50
    for name, parameter in model.named_parameters():
        if name in linear:
            assert isinstance(parameter, torchao.Int8Tensor), name
            assert parameter.qdata.dtype == torch.int8, name
            assert (parameter.scale.dtype, parameter.scale.shape) == (torch.float32, (len(parameter), 1)), name
            assert parameter.dtype == torch.float32, name
        else:
            assert type(parameter) is nn.Parameter, name
            # On a CPU the tables of words stay in the file as they are there; what they give is cast.
            is_table = name.endswith(("embed_tokens.weight", "token_embedding.weight"))
            in_file = torch.float32 if source == "checkpoint" else torch.bfloat16
            assert parameter.dtype == (in_file if is_table else torch.float32), name
            if name.startswith(encoders) and not is_table:
                assert torch.equal(parameter, parameter.bfloat16().float()), f"{name} is not rounded"
    # Norms, biases, embeddings, convolutions, latents; fusion, LSTM and head.
    for part in ("layer_norm", ".bias", "embed_tokens", "patch_embedding", "latent_query", "position_embedding"):
        assert any(part in name and name not in linear for name, _ in model.named_parameters()), part
    for head in ("feature_fusion", "rnn", "actions"):
        assert {parameter.dtype for parameter in getattr(model, head).parameters()} == {torch.float32}


def test_the_file_holds_levels_and_scales(bundles: dict[str, Path], state: dict[str, torch.Tensor]) -> None:
    found = load_file(bundles["int8"] / "model.safetensors")
    quantised = {name for name, tensor in found.items() if tensor.dtype == torch.int8}
    assert found.keys() == state.keys() | {f"{name}_scale" for name in quantised}
    for name in quantised:
        levels, scales = quantize(state[name])
        assert torch.equal(found[name], levels), name
        assert torch.equal(found[f"{name}_scale"], scales), name


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_a_scale_that_is_not_finite_is_refused(bundles: dict[str, Path], tmp_path: Path, engine: str) -> None:
    """Though what a bundle holds was looked at when it was written."""
    broken = shutil.copytree(bundles["int8"], tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if name.endswith("_scale"))
    tensors[name][0] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{name.removesuffix('_scale')} .*NaN"):
        load_policy(broken, engine=engine)


def test_it_is_less_than_half_of_fp32(bundles: dict[str, Path]) -> None:
    sizes = {name: sum(s.nbytes for s in open_checkpoint(bundles[name]).tensors.values()) for name in ("fp32", "int8")}
    assert sizes["int8"] < 0.5 * sizes["fp32"]


_WITHOUT = """
import sys
if sys.argv[1] == "missing":
    sys.modules["torchao"] = None
from pathlib import Path
from simple_clip_lstm_ros.checkpoint.verify import verify
from simple_clip_lstm_ros.checkpoint.convert import convert
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.checkpoint.inspect_report import build_report
from simple_clip_lstm_ros.errors import DeviceError
tiny, bundle, out = sys.argv[2:]
if sys.argv[1] != "missing":
    # Only now: transformers itself would not import with such a torchao.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchao"]:
        del sys.modules[name]
    sys.path.insert(0, sys.argv[1])
for attempt in (
    lambda: load_policy(tiny, precision="int8"),
    lambda: load_policy(bundle),
    lambda: convert(tiny, out, precision="int8"),
):
    try:
        attempt()
    except DeviceError as error:
        print("refused:", error)
load_policy(tiny)
assert not verify(Path(bundle), lambda done, total: None).broken
assert build_report(bundle, {})["problem"] == "" and build_report(bundle, {})["precision"] == "int8"
print("the rest works")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["missing", pytest.param("unfit", marks=pytest.mark.full)])
def test_without_torchao_int8_is_refused_with_what_to_install_and_the_rest_works(
    tiny: Path, bundles: dict[str, Path], tmp_path: Path, how: str
) -> None:
    if how == "unfit":
        (tmp_path / "stub" / "torchao").mkdir(parents=True)
        (tmp_path / "stub" / "torchao" / "__init__.py").write_text("raise ImportError('wants another torch')\n")
    library = "missing" if how == "missing" else str(tmp_path / "stub")
    root = str(Path(simple_clip_lstm_ros.__file__).parents[1])
    command = [sys.executable, "-c", _WITHOUT, library, str(tiny), str(bundles["int8"]), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root}, timeout=120)
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert len(refused) == 3 and last == "the rest works"
    told = "pip install 'simple_clip_lstm_ros[int8]'" if how == "missing" else "wants another torch"
    assert all(line.startswith("refused: precision int8 needs torchao") and told in line for line in refused)
    assert not list(tmp_path.glob("out*"))
