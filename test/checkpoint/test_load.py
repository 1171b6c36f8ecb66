"""load_policy: files of every make give the same policy, and what the caller asks for is what he gets."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.checkpoint.mapped_file import MappedTensor
from simple_clip_lstm_ros.engine.cpu import has_native_bf16
from simple_clip_lstm_ros.errors import Cancelled, ConfigError, DeviceError
from simple_clip_lstm_ros.policy.policy import Policy

State = dict[str, torch.Tensor]
Save = Callable[..., Path]
Act = Callable[[Policy], np.ndarray]


def _views_of_one_storage(state: State) -> State:
    """Every tensor a window into one long buffer, in reverse order and with gaps."""
    buffer = torch.zeros(sum(tensor.numel() + 3 for tensor in state.values()))
    views, end = {}, buffer.numel()
    for name, tensor in state.items():
        end -= tensor.numel() + 3
        views[name] = buffer[end : end + tensor.numel()].view(tensor.shape)
        views[name].copy_(tensor)
    return views


def _not_contiguous(state: State) -> State:
    """Each matrix stored transposed, as a training that used `.t()` leaves it."""
    stored = {
        name: tensor.transpose(0, -1).contiguous().transpose(0, -1) for name, tensor in state.items() if tensor.dim()
    }
    return state | stored


def _with_lm_head(state: State) -> State:
    name = "kosmos_model.text_model"
    return state | {f"{name}.lm_head.weight": state[f"{name}.model.embed_tokens.weight"]}


VARIANTS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 5},
    "model, module.": lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
    "nested prefixes": lambda state: {f"module.model._orig_mod.{name}": tensor for name, tensor in state.items()},
    "lm_head": lambda state: _with_lm_head(state),
    "parameters": lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
    "float64": lambda state: {name: tensor.double() for name, tensor in state.items()},
    "views of one storage": _views_of_one_storage,
    "not contiguous": _not_contiguous,
    "reverse order": lambda state: dict(reversed(state.items())),
    "metadata": lambda state: {
        "model_state_dict": state,
        "args": argparse.Namespace(data=Path("/data"), lr=np.float32(1e-4), seed=np.int64(3)),
        "val_mae": np.float64(0.1),
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_of_another_make_acts_like_the_original(
    content: dict, state: State, save: Save, act: Act, expected: np.ndarray, variant: str
) -> None:
    # A file that says nothing of its recipe; the tiny profile's features are the default of their width.
    policy = load_policy(save(VARIANTS[variant](state)))
    assert policy.config.features == tuple(content["policy_config"]["features"])
    np.testing.assert_allclose(act(policy), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_stored_in_half_precision_act_as_their_values_say(
    state: State, save: Save, act: Act, dtype: torch.dtype
) -> None:
    half = {name: tensor.to(dtype) for name, tensor in state.items()}
    rounded = {name: tensor.float() for name, tensor in half.items()}
    stored_as_half, stored_as_float = save(half, "half.pth"), save(rounded, "float.pth")
    assert stored_as_half.stat().st_size < 0.6 * stored_as_float.stat().st_size
    of_half, of_float = (load_policy(path, precision="fp32") for path in (stored_as_half, stored_as_float))
    np.testing.assert_array_equal(act(of_half), act(of_float))


# Where a CPU emulates bfloat16, float32 is as exact and several times faster.
@pytest.mark.parametrize(
    ("dtype", "keeps"),
    [(torch.float16, "fp32"), (torch.bfloat16, "bf16" if has_native_bf16() else "fp32")],
    ids=["float16", "bfloat16"],
)
def test_auto_keeps_what_is_stored_and_is_no_wider(
    state: State, save: Save, act: Act, dtype: torch.dtype, keeps: str
) -> None:
    half = save({name: tensor.to(dtype) for name, tensor in state.items()})
    policy = load_policy(half)
    assert policy.precision == keeps
    np.testing.assert_array_equal(act(policy), act(load_policy(half, precision=keeps)))


def test_actions_differ_from_frame_to_frame(expected: np.ndarray) -> None:
    """Equality of actions would show nothing if they were constant."""
    assert (np.abs(np.diff(expected, axis=0)) > 1e-3).all()


def test_a_path_may_be_text(tiny: Path, act: Act, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(act(load_policy(str(tiny))), expected)


def test_two_policies_of_one_file_are_independent(tiny: Path, act: Act, expected: np.ndarray) -> None:
    first, second = load_policy(tiny), load_policy(tiny)
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(act(second), expected)
    np.testing.assert_array_equal(act(load_policy(tiny)), expected)


def test_a_loaded_model_is_complete_frozen_and_in_inference_mode(tiny: Path) -> None:
    model = load_policy(tiny).model
    tensors = [*model.parameters(), *model.buffers()]
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in tensors)
    assert not any(module.training for module in model.modules())


def test_bf16_is_for_the_encoders_and_stays_close(tiny: Path, act: Act, expected: np.ndarray) -> None:
    policy = load_policy(tiny, precision="bf16")
    # The tables of words stay in the file as they are; what they give is cast.
    tables = ("embed_tokens.weight", "token_embedding.weight")
    types = {
        component: {p.dtype for name, p in module.named_parameters() if not name.endswith(tables)}
        for component, module in policy.model.named_children()
    }
    assert {p.dtype for name, p in policy.model.named_parameters() if name.endswith(tables)} == {torch.float32}
    assert types == {
        "kosmos_model": {torch.bfloat16},
        "clip_model": {torch.bfloat16},
        "feature_fusion": {torch.float32},
        "rnn": {torch.float32},
        "actions": {torch.float32},
    }
    np.testing.assert_allclose(act(policy), expected, atol=0.15)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_on_a_cpu_auto_means_fp32(tiny: Path, precision: str) -> None:
    assert {p.dtype for p in load_policy(tiny, precision=precision).model.parameters()} == {torch.float32}


def test_the_engine_packed_acts_as_eager_does(tiny: Path, act: Act, expected: np.ndarray) -> None:
    packed = act(load_policy(tiny, precision="fp32", engine="packed"))
    np.testing.assert_allclose(packed, expected, atol=1e-4)
    assert not np.array_equal(packed, expected), "other kernels round otherwise"


def test_an_engine_that_is_none_is_refused_before_a_weight_is_read(tiny: Path, monkeypatch) -> None:
    monkeypatch.setattr(MappedTensor, "iter_chunks", lambda self: pytest.fail("weights were read"))
    with pytest.raises(ConfigError, match=r"^engine 'onnx' is not one of auto, packed, eager$"):
        load_policy(tiny, engine="onnx")


def test_a_setting_of_the_caller_changes_what_the_policy_does(tiny: Path, act: Act, expected: np.ndarray) -> None:
    policy = load_policy(tiny, config={"action_scale": [2.0, -1.0], "action_offset": [0.0, 10.0]})
    np.testing.assert_allclose(act(policy), expected * [2.0, -1.0] + [0.0, 10.0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"device": "gpu"}, ConfigError, r"device 'gpu' is not one of auto, cpu, cuda"),
        ({"device": "cuda:x"}, ConfigError, r"device 'cuda:x' is not one of"),
        ({"device": ""}, ConfigError, r"device '' is not one of"),
        ({"device": "meta"}, ConfigError, r"device 'meta' is not one of"),
        ({"device": "cuda"}, DeviceError, r"finds no CUDA device; use device cpu"),
        ({"device": "cuda:7"}, DeviceError, r"finds no CUDA device; use device cpu"),
    ],
    ids=str,
)
def test_a_device_that_is_not_there_is_refused_before_the_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, error: type[Exception], reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=reason):
        load_policy(tmp_path / "missing.pth", **options)


@pytest.mark.parametrize(
    ("precision", "error", "reason"),
    [
        ("int3", ConfigError, r"precision 'int3' is not one of auto, fp32"),
        ("float32", ConfigError, r"precision 'float32' is not one of auto, fp32"),
        ("", ConfigError, r"precision '' is not one of auto, fp32"),
        ("fp16", DeviceError, r"fp16.*use fp32 or bf16"),
    ],
)
def test_a_precision_that_is_not_there_is_refused_before_a_weight_is_read(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, precision: str, error: type[Exception], reason: str
) -> None:
    def read(_: MappedTensor) -> None:
        raise AssertionError("a weight is read")

    monkeypatch.setattr(MappedTensor, "iter_chunks", read)
    monkeypatch.setattr(MappedTensor, "view", read)
    with pytest.raises(error, match=reason):
        load_policy(tiny, device="cpu", precision=precision)
    with pytest.raises(AssertionError, match="a weight is read"):
        load_policy(tiny, device="cpu", precision="fp32")


def test_a_cuda_device_beyond_the_last_is_refused_with_their_number(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"cuda:2: there are only 2"):
        load_policy(tiny, device="cuda:2")


# --- progress -------------------------------------------------------------------------------------------------


def test_progress_grows_by_bytes_up_to_the_total(tiny: Path, state: State) -> None:
    calls: list[tuple[int, int]] = []
    load_policy(tiny, progress=lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    size = sum(tensor.nbytes for tensor in state.values())
    assert {call[1] for call in calls} == {size}
    assert done == sorted(done)
    assert done[-1] == size
    assert len(calls) > 20, "often enough for a bar"


def test_a_callback_that_raises_stops_the_load_at_once(tiny: Path) -> None:
    calls = []

    def cancel(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        load_policy(tiny, progress=cancel)
    assert len(calls) == 3
