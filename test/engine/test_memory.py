"""Memory figures against those of psutil, and memory that is given back when it is asked for."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
import torch

from simple_clip_lstm_ros.engine import memory
from simple_clip_lstm_ros.engine.cgroup import CgroupMemory
from simple_clip_lstm_ros.engine.memory import (
    CudaMemory,
    Memory,
    ProcessMemory,
    clear_memory,
    freed_bytes,
    read_memory,
    read_process,
)
from simple_clip_lstm_ros.errors import DeviceError

MB = 1_000_000
CUDA = torch.device("cuda", 0)
TAKEN = 100 * MB


def maps_of(pid: int) -> tuple[int, int]:
    """Resident and anonymous bytes, counted page by page by the kernel."""
    maps = psutil.Process(pid).memory_maps(grouped=True)
    return sum(part.rss for part in maps), sum(part.anonymous for part in maps)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that has given 80 MB back, holds 60 MB of anonymous memory and a file of 40 MB mapped, and waits."""
    code = """
import mmap, tempfile
given_back = bytearray(b"1") * 80_000_000
del given_back
held = bytearray(b"1") * 60_000_000
file = tempfile.TemporaryFile()
file.write(b"1" * 1_000_000 * 40)
file.flush()
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(mapped[::4096])
print("ready", flush=True)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_as_psutil_sees_it(child):
    found, (resident, anonymous) = read_memory(pid=child.pid).process, maps_of(child.pid)
    assert found.resident == pytest.approx(resident, abs=MB)
    assert found.anonymous == pytest.approx(anonymous, abs=MB)
    assert found.anonymous > 60 * MB
    assert found.resident - found.anonymous > 40 * MB, "a mapped file is no anonymous memory"
    assert found.peak >= found.resident


def test_the_peak_is_of_all_time():
    code = "held = bytearray(b'1') * 300_000_000; del held; print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        found = read_process(process.pid)
        process.kill()
    assert found.peak > 300 * MB > found.resident


def test_without_a_pid_it_is_this_process():
    found, (resident, anonymous) = read_memory().process, maps_of(os.getpid())
    assert found.resident == pytest.approx(resident, abs=5 * MB)
    assert found.anonymous == pytest.approx(anonymous, abs=5 * MB)
    assert found.peak >= found.resident


def test_the_machine_is_as_psutil_sees_it(monkeypatch):
    assert read_memory().total == psutil.virtual_memory().total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16_000 * MB, available=9_000 * MB))
    found = read_memory()
    assert (found.total, found.available) == (16_000 * MB, 9_000 * MB)


def test_a_process_that_has_ended_is_refused():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    with pytest.raises(DeviceError, match=f"^there is no process {process.pid}$"):
        read_memory(pid=process.pid)


def test_a_process_that_has_ended_and_waits_for_its_parent_is_refused():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        # Until it has ended, without taking its exit status.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(DeviceError, match=f"^process {process.pid} has no memory of its own"):
            read_process(process.pid)


# Giving back.


def test_anonymous_memory_grows_with_what_is_taken_and_comes_back():
    clear_memory()
    before = read_process().anonymous
    taken = torch.ones(TAKEN // 4)
    assert read_process().anonymous - before == pytest.approx(TAKEN, abs=10 * MB)
    del taken
    clear_memory()
    assert read_process().anonymous - before < 10 * MB


def test_a_clearing_takes_what_only_cycles_hold():
    gc.disable()
    try:
        cycle = {"taken": torch.ones(TAKEN // 4)}
        cycle["itself"] = cycle
        del cycle
        before = read_memory()
        clear_memory()
        assert freed_bytes(before, read_memory()) > 0.9 * TAKEN
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library cannot trim its heap")
def test_a_clearing_gives_back_what_the_heap_keeps():
    """Blocks below the size that malloc maps, and one behind them, so that the heap cannot shrink by itself."""
    size = 65_536
    # The first fill the holes that there are.
    blocks = [torch.ones(size // 4) for _ in range(2 * TAKEN // size)]
    last = blocks.pop()
    del blocks
    before = read_memory()
    clear_memory()
    assert freed_bytes(before, read_memory()) > 0.9 * TAKEN
    assert last.sum() == size // 4


def test_a_clearing_empties_the_cache_of_the_gpu_where_there_is_one(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        clear_memory()
        assert emptied == [True] * there


def look(anonymous: int, reserved: int | None = None) -> Memory:
    cuda = None if reserved is None else CudaMemory("a GPU", 8000, 8000, 0, reserved, False)
    return Memory(ProcessMemory(9000, anonymous, 9000), 16_000, 8_000, None, cuda)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (look(700), look(200), 500),
        (look(200), look(700), 0),
        (look(700, 50), look(200, 20), 530),
        (look(200, 50), look(700, 20), 30),
        (look(700, 20), look(200, 50), 500),
        (look(700), look(200, 50), 500),
    ],
)
def test_what_was_freed_is_that_of_process_and_gpu_and_never_negative(before, after, expected):
    assert freed_bytes(before, after) == expected


# The GPU.


@pytest.fixture
def gpu(monkeypatch):
    """Pretends a GPU: 8 GB of which 5 are free, 2 reserved and 1 allocated by this process."""

    def pretend(*, integrated: bool) -> None:
        properties = SimpleNamespace(name="Orin" if integrated else "RTX", is_integrated=int(integrated))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5_000 * MB, 8_000 * MB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2_000 * MB)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1_000 * MB)

    return pretend


def test_a_discrete_gpu_has_memory_of_its_own(gpu):
    gpu(integrated=False)
    found = read_memory(CUDA)
    assert found.cuda == CudaMemory("RTX", 8_000 * MB, 5_000 * MB, 1_000 * MB, 2_000 * MB, shared=False)
    assert [(owner, kind) for owner, kind, _ in found.figures()][-4:] == [
        ("RTX", kind) for kind in ("total", "free", "allocated", "reserved")
    ]


def test_an_integrated_gpu_has_that_of_the_machine(gpu, monkeypatch):
    gpu(integrated=True)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=16_000 * MB, available=9_000 * MB))
    found = read_memory(CUDA)
    assert found.cuda == CudaMemory("Orin", 16_000 * MB, 9_000 * MB, 1_000 * MB, 2_000 * MB, shared=True)
    assert ("Orin, shared with the CPU", "free", 9_000 * MB) in found.figures()


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_without_a_gpu_asked_for_none_is_looked_at(device, monkeypatch):
    monkeypatch.setattr(memory, "_read_cuda", lambda *_: pytest.fail("looked at the GPU"))
    assert read_memory(device).cuda is None


# As figures.


def test_figures_tell_all_that_was_seen():
    seen = Memory(ProcessMemory(3, 2, 4), 16, 8, None, None)
    machine = [
        ("process", "resident", 3),
        ("process", "anonymous", 2),
        ("process", "peak", 4),
        ("machine", "total", 16),
        ("machine", "available", 8),
    ]
    assert list(seen.figures()) == machine
    limited = Memory(seen.process, 16, 8, CgroupMemory(6, 5), None)
    assert list(limited.figures()) == [*machine, ("container", "limit", 6), ("container", "used", 5)]
