"""Run policies step by step in turn on the same frames, each in its own process.

Each policy has its own threads, caches and memory, and steps while all others wait. If the memory does not hold all of
them at once, they are loaded one after the other, in two rounds each.
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
_WARM_UP = 2  # steps


@dataclass(frozen=True)
class BenchmarkCase:
    """A configuration to benchmark: arguments of `inspect_machine`, and those of its `choose`.

    `disable_text_cache` selects the original algorithm, as a baseline.
    """

    name: str
    checkpoint: str
    options: dict[str, Any]
    precision: str = "auto"
    engine: str = "auto"
    disable_text_cache: bool = False


@dataclass(frozen=True)
class WorkerInfo:
    """Report of a worker that has loaded and warmed up its policy; `memory` is measured at that time."""

    execution: ExecutionConfig
    stored: str  # the weights' precision in the file
    device: str
    parameters: int
    text_tokens: int
    load: float  # s
    memory: Memory
    config: PolicyConfig


class Worker:
    """A process that benchmarks one case.

    Raises what load_policy raises, or SimpleClipLstmError; MemoryBudgetError if the process was killed.
    """

    def __init__(self, case: BenchmarkCase) -> None:
        self.case = case
        spawn = multiprocessing.get_context("spawn")
        self._connection, child_connection = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(child_connection, case), daemon=True)
        self._process.start()
        child_connection.close()
        try:
            self.info: WorkerInfo = self._request()
        except BaseException:
            self._process.kill()
            raise

    def profile_step(self, frame: np.ndarray) -> StepProfile:
        return self._request(frame)

    def _request(self, *frames: np.ndarray) -> Any:
        try:
            for frame in frames:
                self._connection.send(frame)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code, problem = self._process.exitcode, f"the process of {self.case.name} ended"
            if code == -signal.SIGKILL:
                raise MemoryBudgetError(f"{problem}: the kernel killed it: out of memory") from None
            raise SimpleClipLstmError(f"{problem} with exit code {code}") from None
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
    """The result of a case."""

    info: WorkerInfo
    profiles: list[StepProfile]


def run_interleaved(
    cases: Sequence[BenchmarkCase], frames: Sequence[np.ndarray], stepped: Callable[[], None]
) -> dict[str, CaseResult]:
    """Run all cases in turn and return their results by name.

    `stepped` is called after each step. Raise the error of a case that cannot be loaded even alone.
    """
    results: dict[str, CaseResult] = {}
    try:
        _run_round(cases, frames, results, stepped)
    except MemoryBudgetError as error:
        if len(cases) == 1:
            raise
        logger.warning(
            "not enough memory for all at once; %d rounds each, from a fresh hidden state: %s",
            _ROUNDS,
            error,
        )
        results.clear()
        size = -(-len(frames) // _ROUNDS)
        for begin in range(0, len(frames), size):
            for case in cases:
                _run_round([case], frames[begin : begin + size], results, stepped)
    return results


def _run_round(
    cases: Sequence[BenchmarkCase],
    frames: Sequence[np.ndarray],
    results: dict[str, CaseResult],
    stepped: Callable[[], None],
) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(case)) for case in cases]
        for worker in workers:
            results.setdefault(worker.case.name, CaseResult(worker.info, []))
        for frame in frames:
            for worker in workers:
                results[worker.case.name].profiles.append(worker.profile_step(frame))
                stepped()


def _serve(connection: Connection, case: BenchmarkCase) -> None:
    """Load in the child process, report it, then profile one step per received frame."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
    from simple_clip_lstm_ros.benchmark.step_profile import profile_step

    try:
        policy, plan, seconds = _load(case)
        with ModuleTimer(policy.model) as timer:
            with plan.oom_as_error():
                _warm_up(policy, timer)
            connection.send(_describe_worker(policy, plan, seconds))
            while True:
                connection.send(profile_step(policy, timer, connection.recv()))
    except (EOFError, ConnectionError):
        """The parent closed the pipe."""
    except SimpleClipLstmError as error:
        connection.send(error)
    except Exception as error:  # raised by torch: a full GPU, ...
        connection.send(SimpleClipLstmError(f"{case.name}: {first_line(error)}"))


def _load(case: BenchmarkCase) -> tuple[Policy, Plan, float]:
    """Load the policy; return it with its plan and the seconds that took."""
    from simple_clip_lstm_ros.benchmark.step_profile import disable_text_cache
    from simple_clip_lstm_ros.checkpoint.load import load
    from simple_clip_lstm_ros.checkpoint.plan import inspect_machine

    start = time.perf_counter()
    plan = inspect_machine(case.checkpoint, **case.options).choose(case.precision, case.engine)
    policy = load(plan)
    seconds = time.perf_counter() - start
    if case.disable_text_cache:
        disable_text_cache(policy.model)
    return policy, plan, seconds


def _warm_up(policy: Policy, timer: ModuleTimer) -> None:
    """Run unmeasured steps with the text of the measured ones, then reset the hidden state."""
    from simple_clip_lstm_ros.benchmark.step_profile import profile_step
    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    for frame in sample_crops(_WARM_UP):
        profile_step(policy, timer, frame)
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
