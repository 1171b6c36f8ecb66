"""Policies that step in turn, each in its process: in one heat where memory allows, in two where it does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest

from simple_clip_lstm_ros.benchmark import interleaved as module
from simple_clip_lstm_ros.benchmark.interleaved import BenchmarkCase, Worker, run_interleaved
from simple_clip_lstm_ros.errors import CheckpointError, MemoryBudgetError, SimpleClipLstmError
from simple_clip_lstm_ros.policy.sample_images import sample_crops

OPTIONS = {"processors": None, "device": "cpu", "overrides": {}, "memory_budget_gb": 0.0}
FRAMES = [np.full((2, 2, 3), value, np.uint8) for value in range(7)]


class Fake:
    """A worker whose lap tells its frame; `room` of them fit at once, and of more than `steady` a lap kills one."""

    room = steady = 9
    running: ClassVar[list[str]]
    started: ClassVar[list[str]]

    def __init__(self, case: BenchmarkCase) -> None:
        if len(self.running) == self.room:
            raise MemoryBudgetError("does not fit")
        self.case, self.info = case, case.name.upper()
        self.running.append(case.name)
        self.started.append(case.name)

    def profile_step(self, frame: np.ndarray) -> int:
        if frame[0, 0, 0] == 3 and len(self.running) > self.steady:
            raise MemoryBudgetError("the kernel killed it")
        return int(frame[0, 0, 0])

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.remove(self.case.name)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    fake = type("Fake", (Fake,), {"running": [], "started": []})
    monkeypatch.setattr(module, "Worker", fake)
    return fake


def cases(*names: str) -> list[BenchmarkCase]:
    return [BenchmarkCase(name, "model.pth", OPTIONS) for name in names]


@pytest.mark.parametrize(
    ("room", "steady", "loads"),
    [(2, 2, ["a", "b"]), (1, 1, ["a", "a", "b", "a", "b"]), (2, 1, ["a", "b", "a", "b", "a", "b"])],
    ids=["at once", "too little to load", "too little to step"],
)
def test_each_sees_all_frames_whether_they_fit_at_once_or_not(
    fake: type[Fake], room: int, steady: int, loads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    fake.room, fake.steady = room, steady
    steps: list[int] = []
    runs = run_interleaved(cases("a", "b"), FRAMES, lambda: steps.append(1))
    assert {name: run.profiles for name, run in runs.items()} == {"a": [*range(7)], "b": [*range(7)]}
    assert {name: run.info for name, run in runs.items()} == {"a": "A", "b": "B"}
    assert fake.started == loads and len(steps) == (14 if steady == room else 20)
    assert not fake.running
    assert ("2 rounds each" in caplog.text) == (len(loads) > 2)


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_what_does_not_fit_by_itself_is_refused(fake: type[Fake], names: tuple[str, ...]) -> None:
    fake.room = 0
    with pytest.raises(MemoryBudgetError, match="does not fit"):
        run_interleaved(cases(*names), FRAMES, lambda: None)


# The real one.


@pytest.mark.slow
def test_a_runner_steps_and_leaves_nothing_behind(tiny: Path) -> None:
    frame = next(sample_crops(1))
    with Worker(BenchmarkCase("fp32", str(tiny), OPTIONS, "fp32", "packed")) as worker:
        assert str(worker.info.execution) == "fp32 packed" and worker.info.text_tokens > 5
        first, second = worker.profile_step(frame), worker.profile_step(frame)
        (child,) = (p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline()))
    assert np.array_equal(first.features["fused"], second.features["fused"])
    assert first.action != second.action, "the hidden state is carried on"
    assert "clip_text" not in first.components, "the text has been read to warm up"
    assert not child.is_running()


@pytest.mark.slow
def test_what_goes_wrong_in_the_child_is_told_as_if_it_were_here(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        Worker(BenchmarkCase("fp32", "nowhere.pth", OPTIONS))
    with Worker(BenchmarkCase("fp32", str(tiny), OPTIONS)) as worker:
        with pytest.raises(SimpleClipLstmError, match="uint8"):
            worker.profile_step(FRAMES[0].astype(float))
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(MemoryBudgetError, match="the kernel killed it"):
            worker.profile_step(FRAMES[0])
