"""What a device and a precision mean, and the error when this machine does not have it."""

from __future__ import annotations

import pytest
import torch

from simple_clip_lstm_ros.engine.precision import PRECISIONS, resolve_device, resolve_dtype
from simple_clip_lstm_ros.errors import ConfigError, DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are this many CUDA devices, with or without bfloat16."""

    def pretend(count: int, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)

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


def test_auto_precision_is_float32_on_a_cpu_and_half_on_cuda(gpus):
    gpus(1)
    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("auto", CUDA) == torch.bfloat16
    gpus(1, bf16=False)
    assert resolve_dtype("auto", CUDA) == torch.float16


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_named_precision_is_its_dtype(precision, dtype):
    assert precision in PRECISIONS
    assert resolve_dtype(precision, CUDA) == dtype
    if precision != "fp16":
        assert resolve_dtype(precision, CPU) == dtype


def test_fp16_on_a_cpu_is_refused_with_what_to_use():
    with pytest.raises(DeviceError, match="use fp32 or bf16"):
        resolve_dtype("fp16", CPU)


@pytest.mark.parametrize("name", ["", "FP32", "float32", "int8"])
def test_an_unknown_precision_is_refused_by_naming_the_known(name):
    with pytest.raises(ConfigError, match=f"^precision {name!r} is not one of auto, fp32, bf16, fp16$"):
        resolve_dtype(name, CPU)
