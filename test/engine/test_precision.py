"""What a device and a precision mean, and the error when this machine does not have it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from simple_clip_lstm_ros.engine import precision as precision_module
from simple_clip_lstm_ros.engine.precision import PRECISIONS, Precision, candidates, resolve_device, storage_precision
from simple_clip_lstm_ros.errors import ConfigError, DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are this many CUDA devices, with or without bfloat16."""

    def pretend(count: int, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        generation = SimpleNamespace(major=8 if bf16 else 7)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: generation)

    return pretend


def test_auto_takes_cuda_where_there_is_one(gpus):
    gpus(1)
    assert resolve_device("auto") == CUDA
    gpus(0)
    assert resolve_device("auto") == CPU


def test_a_device_that_is_there_is_taken_as_named(gpus):
    gpus(2)
    assert resolve_device("cpu") == CPU
    assert resolve_device("cuda") == CUDA
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99"])
def test_cuda_without_a_cuda_device_is_refused_with_what_to_use(name, gpus):
    gpus(0)
    with pytest.raises(DeviceError, match=rf"^device {name}: this PyTorch .* finds no CUDA device; use device cpu$"):
        resolve_device(name)


def test_a_cuda_device_beyond_the_last_is_refused(gpus):
    gpus(2)
    with pytest.raises(DeviceError, match=r"^device cuda:2: there are only 2 CUDA devices here$"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "meta", "mps", "xpu", "cuda:", "cuda:-1", "cuda:x", "jetson", "\n"])
def test_another_word_is_no_device(name, gpus):
    gpus(2)
    with pytest.raises(ConfigError, match=r"is not one of auto, cpu, cuda, cuda:N$"):
        resolve_device(name)


def names(options) -> list[str]:
    return [option.name for option in options]


def test_auto_prefers_float32_on_a_cpu_and_half_on_cuda(gpus):
    gpus(1)
    assert names(candidates("auto", CPU, "fp32")) == ["fp32", "bf16", "int8"]
    assert names(candidates("auto", CUDA, "fp32")) == ["bf16", "int8"]
    gpus(1, bf16=False)
    assert names(candidates("auto", CUDA, "fp32")) == ["fp16", "int8"]


def test_auto_is_never_wider_than_what_is_stored(gpus):
    gpus(1)
    assert names(candidates("auto", CUDA, "fp16")) == ["fp16", "int8"]
    assert names(candidates("auto", CUDA, "bf16")) == ["bf16", "int8"]
    assert names(candidates("auto", CPU, "int8")) == names(candidates("auto", CUDA, "int8")) == ["int8"]


@pytest.mark.parametrize(("computes", "first"), [(True, "bf16"), (False, "fp32")])
def test_on_a_cpu_bfloat16_stays_so_where_it_is_not_emulated(monkeypatch, computes, first):
    monkeypatch.setattr(precision_module, "has_native_bf16", lambda: computes)
    assert names(candidates("auto", CPU, "bf16"))[0] == first


def test_float16_is_widened_on_a_cpu_since_bfloat16_would_round_it():
    assert names(candidates("auto", CPU, "fp16")) == ["fp32", "bf16", "int8"]


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_named_precision_is_that_alone_and_its_dtype(name, dtype):
    assert name in PRECISIONS
    assert candidates(name, CUDA, "fp32") == [Precision(name, dtype)]
    if name != "fp16":
        assert candidates(name, CPU, "bf16") == [Precision(name, dtype)]


@pytest.mark.parametrize("bf16", [True, False])
def test_int8_computes_in_what_has_the_range_that_unscaled_products_need(gpus, bf16):
    gpus(1, bf16=bf16)
    assert candidates("int8", CPU, "fp32") == [Precision("int8", torch.bfloat16, upcasts=True)]
    assert candidates("int8", CUDA, "int8") == [Precision("int8", torch.bfloat16)]


def test_int8_is_for_linear_layers_of_the_encoders_only():
    linear = {"kosmos_model.a.q_proj.weight", "clip_model.b.fc1.weight", "feature_fusion.weight"}
    int8 = Precision("int8", torch.bfloat16)
    assert int8.dtype_of("kosmos_model.a.q_proj.weight", linear) == torch.int8
    assert int8.dtype_of("clip_model.b.fc1.weight", linear) == torch.int8
    assert int8.dtype_of("kosmos_model.a.q_proj.bias", linear) == torch.bfloat16
    assert int8.dtype_of("clip_model.embeddings.weight", linear) == torch.bfloat16
    for head in ("feature_fusion.weight", "rnn.weight_ih_l0", "actions.mlp.8.weight"):
        for precision in (int8, Precision("bf16", torch.bfloat16), Precision("fp16", torch.float16)):
            assert precision.dtype_of(head, linear) == torch.float32
    assert Precision("bf16", torch.bfloat16).dtype_of("kosmos_model.a.q_proj.weight", linear) == torch.bfloat16


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_int8_weights_cannot_go_back(name):
    for give in (lambda: candidates(name, CPU, "int8"), lambda: storage_precision(name, "int8")):
        with pytest.raises(ConfigError, match=f"^precision {name}: .* convert their source again$"):
            give()


def test_a_bundle_is_as_its_source_unless_told_otherwise_and_for_any_device(gpus):
    gpus(0)
    assert storage_precision("", "bf16") == Precision("bf16", torch.bfloat16)
    assert storage_precision("fp16", "fp32") == Precision("fp16", torch.float16)
    assert storage_precision("int8", "fp32") == Precision("int8", torch.bfloat16)
    with pytest.raises(ConfigError, match="one precision"):
        storage_precision("auto", "fp32")


def test_fp16_on_a_cpu_is_refused_with_what_to_use():
    with pytest.raises(DeviceError, match="use fp32 or bf16"):
        candidates("fp16", CPU, "fp32")


@pytest.mark.parametrize("name", ["", "FP32", "float32", "int4"])
def test_an_unknown_precision_is_refused_by_naming_the_known(name):
    with pytest.raises(ConfigError, match=f"^precision {name!r} is not one of auto, fp32, bf16, fp16, int8$"):
        candidates(name, CPU, "fp32")
