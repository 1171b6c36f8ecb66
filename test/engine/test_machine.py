"""What a device can do at most, measured; and under what conditions."""

from __future__ import annotations

import json
import time

import pytest
import torch

from simple_clip_lstm_ros.engine import machine
from simple_clip_lstm_ros.engine.conditions import in_words, read_conditions
from simple_clip_lstm_ros.engine.machine import measure

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch):
    """Small enough for a test; the figures are not the point."""
    monkeypatch.setitem(machine._SIDE, "cpu", 64)
    monkeypatch.setitem(machine._BUFFER, "cpu", 1 << 20)
    monkeypatch.setattr(machine, "_TIME", 0.0)


def test_it_has_a_rate_for_each_precision_and_reads_memory(quick):
    found = measure(CPU)
    assert list(found.rates) == ["fp32", "bf16", "fp16", "int8"]
    assert all(rate > 0.0 for rate in found.rates.values()) and found.bandwidth > 0.0


def test_a_product_that_the_device_has_not_has_no_rate(quick, monkeypatch):
    def refuse(left, right):
        raise RuntimeError("not implemented for 'Char'")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    assert list(measure(CPU).rates) == ["fp32", "bf16", "fp16"]


@torch.inference_mode()
def test_no_product_is_faster_than_the_rate():
    """It is a limit: what is measured beside it stays below, but for the noise of a machine."""
    rate = machine._rate(CPU, torch.float32)
    left, right = torch.rand(256, 1024), torch.rand(1024, 1024)
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - begin)
    assert 2.0 * 256 * 1024**2 / min(times) < 2.0 * rate


# The conditions.


def test_they_are_plain_data_and_name_what_decides_about_speed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = read_conditions(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == torch.get_num_threads() and found["cpus"] >= 1
    assert found["versions"]["torch"] == torch.__version__
    assert found["environment"]["OMP_NUM_THREADS"] == "2"


def test_in_words_they_are_one_line():
    line = in_words(read_conditions(CPU))
    assert "\n" not in line and f"torch {torch.__version__}" in line and "power mode" not in line


def test_a_jetson_tells_its_power_mode(monkeypatch, tmp_path):
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MODE_15W'; echo 2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert ", power mode MODE_15W 2; " in in_words(read_conditions(CPU))
