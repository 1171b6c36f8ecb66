"""Every figure finds its row, in GB."""

from __future__ import annotations

import pytest

from simple_clip_lstm_ros.cli.tables import make_console, memory_table
from simple_clip_lstm_ros.engine.cgroup import CgroupMemory
from simple_clip_lstm_ros.engine.memory import CudaMemory, Memory, ProcessMemory

PROCESS = ProcessMemory(1_000_000_000, 250_000_000, 1_500_000_000)
CGROUP = CgroupMemory(8_000_000_000, 3_000_000_000)
CUDA = CudaMemory("Orin", 16_000_000_000, 9_000_000_000, 4_000_000_000, 5_000_000_000, True)


@pytest.fixture
def rows(capsys: pytest.CaptureFixture[str]):
    def rows(memory: Memory) -> list[list[str]]:
        make_console().print(memory_table(memory))
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    return rows


def test_without_a_limit_and_a_gpu_there_is_no_row_of_them(rows) -> None:
    assert rows(Memory(PROCESS, 32_000_000_000, 20_123_000_000, None, None)) == [
        ["memory", "GB"],
        ["process", "resident", "1.000"],
        ["anonymous", "0.250"],
        ["peak", "1.500"],
        ["machine", "total", "32.000"],
        ["available", "20.123"],
    ]


def test_a_limit_and_a_gpu_have_theirs(rows) -> None:
    assert rows(Memory(PROCESS, 1, 1, CGROUP, CUDA))[6:] == [
        ["container", "limit", "8.000"],
        ["used", "3.000"],
        ["Orin,", "shared", "with", "the", "CPU", "total", "16.000"],
        ["free", "9.000"],
        ["allocated", "4.000"],
        ["reserved", "5.000"],
    ]
