"""A recorded drive once more, through a policy and the Governor: what would it have commanded?

In the recording's time, and as fast as it goes. The node's control loop runs here without threads and timers, so that
the same recording gives the same commands. It is open loop: the pictures are those of the
recorded drive, wherever the replayed commands would have led.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

from simple_clip_lstm_ros.control.control_loop import ControlLoop, NewestObservation
from simple_clip_lstm_ros.control.governor import Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.drive_events import CommandEvent, DriveEvent, ImageEvent, InstructionEvent, ReasonEvent
from simple_clip_lstm_ros.errors import ConfigError, InputError
from simple_clip_lstm_ros.evaluation.ros_params_file import to_number, to_numbers
from simple_clip_lstm_ros.language.instruction import Instruction, interpret
from simple_clip_lstm_ros.policy.policy import Policy

_TIMES = ("command_rate", "image_timeout", "command_timeout", "state_timeout")
_MAX_LATENCY = 60.0  # s
MAX_PAUSE = 5.0  # s in which nothing was recorded; of a longer one the rest is left out


@dataclass(frozen=True)
class ReplayConfig:
    """The node's parameters that count here, in its units; `latency` is that of a step, in s of the recording.

    Raises ConfigError.
    """

    limits: Limits = field(default_factory=Limits)
    command_rate: float = 20.0
    image_timeout: float = 0.5
    command_timeout: float = 0.5
    state_timeout: float = 2.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("command_rate", "state_timeout"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a positive number, not {getattr(self, name):g}")
        if not 0.0 <= self.latency <= _MAX_LATENCY:
            raise ConfigError(f"latency must be from 0 to {_MAX_LATENCY:g} s, not {self.latency:g}")

    @classmethod
    def stated(cls, parameters: Mapping[str, Any], latency: float) -> ReplayConfig:
        """Of the node's parameters; what they do not state is the node's default. Raises ConfigError."""
        own, usual = Limits(), cls(latency=latency)
        limits = {item.name: to_numbers(parameters, item.name, getattr(own, item.name)) for item in fields(own)}
        times = {name: to_number(parameters, name, getattr(usual, name)) for name in _TIMES}
        return replace(usual, limits=Limits(**limits), **times)


class ReplayTick(NamedTuple):
    """One command: what is commanded now and why, and what was commanded then, as far as it is known.

    `frame` is the newest picture, uint8 [height, width, 3]; None before the first.
    """

    time: float
    velocity: Velocity
    reason: Reason
    recorded: Velocity | None
    recorded_reason: str
    instruction: str
    frame: np.ndarray | None


class _PendingStep(NamedTuple):
    """Under way: its outcome is known when it is done."""

    done: float
    key: ObservationKey
    values: tuple[float, ...] | None
    failure: str


class Replay:
    """`instruction` takes the place of those that were given. Untrained weights move it, too: there is no robot here.

    `governor` tells of reasons and counts, `pauses` how many long ones there were, once `moments` have come.
    """

    def __init__(self, policy: Policy, rules: ReplayConfig, instruction: str | None = None) -> None:
        self.governor = Governor(
            rules.limits,
            period=1.0 / rules.command_rate,
            image_timeout=rules.image_timeout,
            command_timeout=rules.command_timeout,
            may_move=True,
        )
        self.pauses = self.unreadable = self.steps = 0
        self._policy = policy
        self._latency = rules.latency
        self._period = 1.0 / rules.command_rate
        self._loop = ControlLoop(self.governor, self._interpret, policy.config.action_axes)
        self._slot: NewestObservation[tuple[ImageEvent, ObservationKey]] = NewestObservation(rules.state_timeout)
        self._given = instruction
        self._step: _PendingStep | None = None
        self._recorded: Velocity | None = None
        self._recorded_reason = ""
        self._frame: np.ndarray | None = None

    def run(self, happenings: Iterable[DriveEvent]) -> Iterator[ReplayTick]:
        """One each period of the command rate, from the first happening to the last."""
        self._policy.reset()
        self.governor.activate()
        if self._given is not None:
            self._instruct(self._given)
        next_tick = math.nan
        for each in happenings:
            if math.isnan(next_tick) or each.time < next_tick - 2.0 * self._period:  # the clock has gone back
                next_tick = each.time
            end = min(each.time, next_tick + MAX_PAUSE)
            while next_tick < end:
                yield self._tick(next_tick)
                next_tick += self._period
            if next_tick < each.time:
                self.pauses += 1
                next_tick = each.time
            self._settle(each.time)
            self._take(each)
        if not math.isnan(next_tick):
            yield self._tick(next_tick)
        self._policy.reset()

    def _take(self, happening: DriveEvent) -> None:
        if isinstance(happening, ImageEvent):
            self._look(happening)
        elif isinstance(happening, InstructionEvent):
            if self._given is None:
                self._instruct(happening.instruction)
        elif isinstance(happening, CommandEvent):
            self._recorded = happening.velocity
        elif isinstance(happening, ReasonEvent):
            self._recorded_reason = happening.reason
        else:
            self.unreadable += 1

    def _interpret(self, text: str) -> Instruction:
        return interpret(text, self._policy.validate_instruction)

    def _instruct(self, text: str) -> None:
        self._loop.set_instruction(self._loop.interpret(text))

    def _look(self, picture: ImageEvent) -> None:
        self._frame = picture.frame
        key = self.governor.on_image(picture.stamp, picture.time)
        if key is None or not key.instruction:
            return
        self._slot.put((picture, key), key.stamp)
        self._begin_step(picture.time)

    def _begin_step(self, now: float) -> None:
        if self._step is not None or (taken := self._slot.take()) is None:
            return
        (picture, key), must_reset = taken
        if must_reset:
            self._policy.reset()
        self.steps += 1
        values, failure = None, ""
        try:
            values = self._policy.step(picture.frame, key.instruction, picture.stamp).values
        except InputError as error:
            failure = str(error)
        self._step = _PendingStep(now + self._latency, key, values, failure)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Steps that are done by now, one after the other."""
        while self._step is not None and self._step.done <= now:
            step, self._step = self._step, None
            if step.values is None:
                self.governor.on_step_failed(step.failure, step.key)
            else:
                self._loop.on_action(step.values, step.key)
            self._begin_step(step.done)

    def _tick(self, now: float) -> ReplayTick:
        self._settle(now)
        decision = self.governor.tick(now)
        assert isinstance(decision.reason, Reason)
        recorded, reason, instruction = self._recorded, self._recorded_reason, self.governor.instruction
        return ReplayTick(now, decision.velocity, decision.reason, recorded, reason, instruction, self._frame)
