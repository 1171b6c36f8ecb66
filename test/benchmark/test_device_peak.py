"""What a device can do at most, measured; and under what conditions."""

from __future__ import annotations

import json
import time

import pytest
import torch
from torch.nn import functional as F

from simple_clip_lstm_ros.benchmark import environment
from simple_clip_lstm_ros.benchmark.environment import collect_env, format_env, measure_peak
from simple_clip_lstm_ros.engine.packed_linear import can_pack, pack
from simple_clip_lstm_ros.errors import MemoryBudgetError

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """Small enough for a test; the figures are not the point."""
    monkeypatch.setitem(environment._SIDE, "cpu", 64)
    monkeypatch.setitem(environment._BUFFER, "cpu", 1 << 20)
    monkeypatch.setattr(environment, "_MIN_TIME", 0.0)


def test_it_has_a_rate_for_each_precision_and_reads_memory(quick):
    found = measure_peak(CPU)
    assert list(found.rates) == ["fp32", "bf16", "fp16", "int8"]
    assert all(rate > 0.0 for rate in found.rates.values()) and found.bandwidth > 0.0


def test_a_product_that_the_device_has_not_has_no_rate(quick, monkeypatch):
    def refuse(left, right):
        raise RuntimeError("not implemented for 'Char'")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    monkeypatch.setattr(environment, "has_int8_dot", lambda: False)
    assert list(measure_peak(CPU).rates) == ["fp32", "bf16", "fp16"]


@torch.inference_mode()
@pytest.mark.parametrize("prepare", [lambda weight: weight, pack], ids=["as it is", "packed"])
def test_no_product_of_a_frame_is_faster_than_the_rate(prepare):
    """It is a limit: what is measured beside it stays below, but for the noise of a machine."""
    if not can_pack(torch.float32):
        pytest.skip("nothing is packed here")
    rate = environment._operations_rate(CPU, torch.float32)
    inputs, weight = torch.rand(257, 1024), prepare(torch.rand(4096, 1024))
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        F.linear(inputs, weight)
        times.append(time.perf_counter() - begin)
    assert 2.0 * 257 * 1024 * 4096 / min(times) < 1.25 * rate


@pytest.mark.parametrize("at", ["mm", "buffer"])
def test_a_machine_without_memory_for_it_is_refused_and_not_called_slow(quick, monkeypatch, at):
    def refuse(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(*((torch, "_int_mm") if at == "mm" else (torch, "zeros")), refuse)
    with pytest.raises(MemoryBudgetError, match=r"not enough memory to benchmark cpu: CUDA out of memory"):
        measure_peak(CPU)


# The conditions.


def test_they_are_plain_data_and_name_what_decides_about_speed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = collect_env(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == torch.get_num_threads() and found["cpus"] >= 1
    assert found["versions"]["torch"] == torch.__version__
    assert found["environment"]["OMP_NUM_THREADS"] == "2"


def test_in_words_they_are_one_line():
    line = format_env(collect_env(CPU))
    assert "\n" not in line and f"torch {torch.__version__}" in line and "power mode" not in line


def test_a_jetson_tells_its_power_mode(monkeypatch, tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MODE_15W'; echo 2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert ", power mode MODE_15W 2; " in format_env(collect_env(CPU))
