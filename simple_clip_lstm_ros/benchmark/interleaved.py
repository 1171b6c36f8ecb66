"""Policies that step in turn on the same frames, each in a process of its own.

So that none has the threads, caches or memory of another, and each the machine for itself while it steps: all others
wait. Where memory does not hold all at once, they are loaded one after the other, in two heats each.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from simple_clip_lstm_ros.errors import MemoryBudgetError, SimpleClipLstmError, first_line

if TYPE_CHECKING:
    from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
    from simple_clip_lstm_ros.benchmark.step_profile import StepProfile
    from simple_clip_lstm_ros.checkpoint.plan import Plan
    from simple_clip_lstm_ros.engine.linear_backends import ExecutionConfig
    from simple_clip_lstm_ros.engine.memory import Memory
    from simple_clip_lstm_ros.policy.config import PolicyConfig
    from simple_clip_lstm_ros.policy.policy import Policy

logger = logging.getLogger(__name__)

_ROUNDS = 2
_WARM_UP = 2  # laps


@dataclass(frozen=True)
class BenchmarkCase:
    """What is to run: arguments of `survey`, those of its `choose`, and whether the plain way, as a baseline."""

    name: str
    checkpoint: str
    options: dict[str, Any]
    precision: str = "auto"
    engine: str = "auto"
    plain: bool = False


@dataclass(frozen=True)
class WorkerInfo:
    """What a runner says when it has loaded and warmed up. `memory` is what its process holds then."""

    execution: ExecutionConfig
    stored: str  # the weights' precision in the file
    device: str
    parameters: int
    text_tokens: int
    load: float  # s
    memory: Memory
    config: PolicyConfig


class Worker:
    """An entry in its process. Raises what load_policy raises, or SimpleClipLstmError; MemoryBudgetError if killed."""

    def __init__(self, entry: BenchmarkCase) -> None:
        self.entry = entry
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, entry), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.ready: WorkerInfo = self._answer()
        except BaseException:
            self._process.kill()
            raise

    def profile_step(self, frame: np.ndarray) -> StepProfile:
        return self._answer(frame)

    def _answer(self, *question: np.ndarray) -> Any:
        try:
            for frame in question:
                self._connection.send(frame)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code, told = self._process.exitcode, f"the process of {self.entry.name} ended"
            if code == -signal.SIGKILL:
                raise MemoryBudgetError(f"{told}: the kernel killed it, for want of memory") from None
            raise SimpleClipLstmError(f"{told} with exit code {code}") from None
        if isinstance(answer, SimpleClipLstmError):
            raise answer
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


@dataclass
class CaseResult:
    """What became of an entry."""

    ready: WorkerInfo
    laps: list[StepProfile]


def run_interleaved(
    entries: Sequence[BenchmarkCase], frames: Sequence[np.ndarray], stepped: Callable[[], None]
) -> dict[str, CaseResult]:
    """By name; `stepped` is called after each lap. Raises what a runner raises that cannot be loaded by itself."""
    runs: dict[str, CaseResult] = {}
    try:
        _run_round(entries, frames, runs, stepped)
    except MemoryBudgetError as error:
        if len(entries) == 1:
            raise
        logger.warning("not all at once, then, but in %d heats, each from a fresh hidden state: %s", _ROUNDS, error)
        runs.clear()
        size = -(-len(frames) // _ROUNDS)
        for begin in range(0, len(frames), size):
            for entry in entries:
                _run_round([entry], frames[begin : begin + size], runs, stepped)
    return runs


def _run_round(
    entries: Sequence[BenchmarkCase],
    frames: Sequence[np.ndarray],
    runs: dict[str, CaseResult],
    stepped: Callable[[], None],
) -> None:
    with ExitStack() as stack:
        runners = [stack.enter_context(Worker(entry)) for entry in entries]
        for runner in runners:
            runs.setdefault(runner.entry.name, CaseResult(runner.ready, []))
        for frame in frames:
            for runner in runners:
                runs[runner.entry.name].laps.append(runner.lap(frame))
                stepped()


def _serve(connection: Connection, entry: BenchmarkCase) -> None:
    """In the child: load, say so, then answer each frame with a lap until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process too
    from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
    from simple_clip_lstm_ros.benchmark.step_profile import profile_step

    try:
        policy, plan, seconds = _load(entry)
        with ModuleTimer(policy.model) as watch:
            with plan.oom_as_error():
                _warm_up(policy, watch)
            connection.send(_describe_worker(policy, plan, seconds))
            while True:
                connection.send(profile_step(policy, watch, connection.recv()))
    except (EOFError, ConnectionError):
        """Nobody asks any more."""
    except SimpleClipLstmError as error:
        connection.send(error)
    except Exception as error:  # of torch: a GPU that is full, ...
        connection.send(SimpleClipLstmError(f"{entry.name}: {first_line(error)}"))


def _load(entry: BenchmarkCase) -> tuple[Policy, Plan, float]:
    """And how many seconds that took."""
    from simple_clip_lstm_ros.benchmark.step_profile import disable_text_cache
    from simple_clip_lstm_ros.checkpoint.load import load
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine

    begin = time.perf_counter()
    plan = inspect_machine(entry.checkpoint, **entry.options).choose(entry.precision, entry.engine)
    policy = load(plan)
    seconds = time.perf_counter() - begin
    if entry.plain:
        disable_text_cache(policy.model)
    return policy, plan, seconds


def _warm_up(policy: Policy, watch: ModuleTimer) -> None:
    """By laps like those that will count, their text among them; the hidden state is fresh again after it."""
    from simple_clip_lstm_ros.benchmark.step_profile import profile_step
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    for frame in sample_crops(_WARM_UP):
        profile_step(policy, watch, frame)
    policy.reset()


def _describe_worker(policy: Policy, plan: Plan, seconds: float) -> WorkerInfo:
    from simple_clip_lstm_ros.engine.memory import read_memory
    from simple_clip_lstm_ros.engine.output_error import INSTRUCTION

    return WorkerInfo(
        plan.execution,
        plan.candidates.spec.info.precision,
        str(policy.device),
        sum(parameter.numel() for parameter in policy.model.parameters()),
        policy.text_tokens(INSTRUCTION),
        seconds,
        read_memory(policy.device),
        policy.config,
    )
