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
    from simple_clip_lstm_ros.checkpoint.plan import Plan
    from simple_clip_lstm_ros.engine.engines import Way
    from simple_clip_lstm_ros.engine.laps import Lap
    from simple_clip_lstm_ros.engine.memory import Memory
    from simple_clip_lstm_ros.engine.stopwatch import Stopwatch
    from simple_clip_lstm_ros.policy.config import PolicyConfig
    from simple_clip_lstm_ros.policy.policy import Policy

logger = logging.getLogger(__name__)

_HEATS = 2
_WARM_UP = 2  # laps


@dataclass(frozen=True)
class Entry:
    """What is to run: arguments of `survey`, those of its `choose`, and whether the plain way, as a baseline."""

    name: str
    checkpoint: str
    options: dict[str, Any]
    precision: str = "auto"
    engine: str = "auto"
    plain: bool = False


@dataclass(frozen=True)
class Ready:
    """What a runner says when it has loaded and warmed up. `memory` is what its process holds then."""

    way: Way
    stored: str  # the weights' precision in the file
    device: str
    parameters: int
    text_tokens: int
    load: float  # s
    memory: Memory
    config: PolicyConfig


class Runner:
    """An entry in its process. Raises what load_policy raises, or SimpleClipLstmError; MemoryBudgetError if killed."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, entry), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.ready: Ready = self._answer()
        except BaseException:
            self._process.kill()
            raise

    def lap(self, frame: np.ndarray) -> Lap:
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

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


@dataclass
class Run:
    """What became of an entry."""

    ready: Ready
    laps: list[Lap]


def race(entries: Sequence[Entry], frames: Sequence[np.ndarray], stepped: Callable[[], None]) -> dict[str, Run]:
    """By name; `stepped` is called after each lap. Raises what a runner raises that cannot be loaded by itself."""
    runs: dict[str, Run] = {}
    try:
        _heat(entries, frames, runs, stepped)
    except MemoryBudgetError as error:
        if len(entries) == 1:
            raise
        logger.warning("not all at once, then, but in %d heats, each from a fresh hidden state: %s", _HEATS, error)
        runs.clear()
        size = -(-len(frames) // _HEATS)
        for begin in range(0, len(frames), size):
            for entry in entries:
                _heat([entry], frames[begin : begin + size], runs, stepped)
    return runs


def _heat(
    entries: Sequence[Entry], frames: Sequence[np.ndarray], runs: dict[str, Run], stepped: Callable[[], None]
) -> None:
    with ExitStack() as stack:
        runners = [stack.enter_context(Runner(entry)) for entry in entries]
        for runner in runners:
            runs.setdefault(runner.entry.name, Run(runner.ready, []))
        for frame in frames:
            for runner in runners:
                runs[runner.entry.name].laps.append(runner.lap(frame))
                stepped()


def _serve(connection: Connection, entry: Entry) -> None:
    """In the child: load, say so, then answer each frame with a lap until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process too
    from simple_clip_lstm_ros.engine.laps import lap
    from simple_clip_lstm_ros.engine.stopwatch import Stopwatch

    try:
        policy, plan, seconds = _loaded(entry)
        with Stopwatch(policy.model) as watch:
            with plan.carried_out():
                _warm_up(policy, watch)
            connection.send(_ready(policy, plan, seconds))
            while True:
                connection.send(lap(policy, watch, connection.recv()))
    except (EOFError, ConnectionError):
        """Nobody asks any more."""
    except SimpleClipLstmError as error:
        connection.send(error)
    except Exception as error:  # of torch: a GPU that is full, ...
        connection.send(SimpleClipLstmError(f"{entry.name}: {first_line(error)}"))


def _loaded(entry: Entry) -> tuple[Policy, Plan, float]:
    """And how many seconds that took."""
    from simple_clip_lstm_ros.checkpoint.load import load
    from simple_clip_lstm_ros.checkpoint.plan import survey
    from simple_clip_lstm_ros.engine.laps import read_text_each_frame

    begin = time.perf_counter()
    plan = survey(entry.checkpoint, **entry.options).choose(entry.precision, entry.engine)
    policy = load(plan)
    seconds = time.perf_counter() - begin
    if entry.plain:
        read_text_each_frame(policy.model)
    return policy, plan, seconds


def _warm_up(policy: Policy, watch: Stopwatch) -> None:
    """By laps like those that will count, their text among them; the hidden state is fresh again after it."""
    from simple_clip_lstm_ros.engine.laps import lap
    from simple_clip_lstm_ros.policy.photographs import crops

    for frame in crops(_WARM_UP):
        lap(policy, watch, frame)
    policy.reset()


def _ready(policy: Policy, plan: Plan, seconds: float) -> Ready:
    from simple_clip_lstm_ros.engine.difference import INSTRUCTION
    from simple_clip_lstm_ros.engine.memory import read_memory

    return Ready(
        plan.way,
        plan.survey.blueprint.description.precision,
        str(policy.device),
        sum(parameter.numel() for parameter in policy.model.parameters()),
        policy.text_tokens(INSTRUCTION),
        seconds,
        read_memory(policy.device),
        policy.config,
    )
