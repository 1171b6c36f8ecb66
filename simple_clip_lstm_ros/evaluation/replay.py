"""Replay a recorded drive through a policy and the Governor: what would they have commanded?

Runs in the recording's time, as fast as possible. The node's control loop runs without threads and timers, so that the
same recording gives the same commands. The replay is open loop: the images are those of the recorded drive, wherever
the replayed commands would have led.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from simple_clip_lstm_ros.control.control_loop import ControlLoop, NewestObservation
from simple_clip_lstm_ros.control.governor import Governor, ObservationKey, Reason
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.data.drive_events import CommandEvent, DriveEvent, ImageEvent, InstructionEvent, ReasonEvent
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.evaluation.replay_config import ReplayConfig
from simple_clip_lstm_ros.language.instruction import Instruction, interpret
from simple_clip_lstm_ros.policy.policy import Policy

MAX_PAUSE = 5.0  # s without any event; the rest of a longer pause is skipped


class ReplayTick(NamedTuple):
    """One command period: the replayed command and reason, and the recorded ones as far as they are known.

    `frame` is the newest image, uint8 [height, width, 3]; None before the first.
    """

    time: float
    velocity: Velocity
    reason: Reason
    recorded: Velocity | None
    recorded_reason: str
    instruction: str
    frame: np.ndarray | None


class _PendingStep(NamedTuple):
    """A step in progress, whose result becomes available at `done_time` (s)."""

    done_time: float
    key: ObservationKey
    values: tuple[float, ...] | None
    failure: str


class Replay:
    """Replays one drive; `instruction` replaces the recorded ones. Untrained weights may move: there is no robot.

    After `run`, `governor` has the reasons and counts, `pauses` the number of pauses longer than MAX_PAUSE.
    """

    def __init__(self, policy: Policy, config: ReplayConfig, instruction: str | None = None) -> None:
        self.governor = Governor(
            config.limits,
            period=1.0 / config.command_rate,
            image_timeout=config.image_timeout,
            command_timeout=config.command_timeout,
            may_move=True,
        )
        self.pauses = self.unreadable = self.steps = 0
        self._policy = policy
        self._latency = config.latency
        self._period = 1.0 / config.command_rate
        self._loop = ControlLoop(self.governor, self._interpret, policy.config.action_axes)
        self._slot: NewestObservation[tuple[ImageEvent, ObservationKey]] = NewestObservation(config.state_timeout)
        self._instruction_override = instruction
        self._step: _PendingStep | None = None
        self._recorded: Velocity | None = None
        self._recorded_reason = ""
        self._frame: np.ndarray | None = None

    def run(self, events: Iterable[DriveEvent]) -> Iterator[ReplayTick]:
        """Yield one tick per period of the command rate, from the first event to the last."""
        self._policy.reset()
        self.governor.activate()
        if self._instruction_override is not None:
            self._set_instruction(self._instruction_override)
        next_tick = math.nan
        for event in events:
            if math.isnan(next_tick) or event.time < next_tick - 2.0 * self._period:  # the clock has gone back
                next_tick = event.time
            end = min(event.time, next_tick + MAX_PAUSE)
            while next_tick < end:
                yield self._tick(next_tick)
                next_tick += self._period
            if next_tick < event.time:
                self.pauses += 1
                next_tick = event.time
            self._finish_steps(event.time)
            self._handle_event(event)
        if not math.isnan(next_tick):
            yield self._tick(next_tick)
        self._policy.reset()

    def _handle_event(self, event: DriveEvent) -> None:
        if isinstance(event, ImageEvent):
            self._handle_image(event)
        elif isinstance(event, InstructionEvent):
            if self._instruction_override is None:
                self._set_instruction(event.instruction)
        elif isinstance(event, CommandEvent):
            self._recorded = event.velocity
        elif isinstance(event, ReasonEvent):
            self._recorded_reason = event.reason
        else:
            self.unreadable += 1

    def _interpret(self, text: str) -> Instruction:
        return interpret(text, self._policy.validate_instruction)

    def _set_instruction(self, text: str) -> None:
        self._loop.set_instruction(self._loop.interpret(text))

    def _handle_image(self, image: ImageEvent) -> None:
        self._frame = image.frame
        key = self.governor.on_image(image.stamp, image.time)
        if key is None or not key.instruction:
            return
        self._slot.put((image, key), key.stamp)
        self._begin_step(image.time)

    def _begin_step(self, now: float) -> None:
        if self._step is not None or (taken := self._slot.take()) is None:
            return
        (image, key), must_reset = taken
        if must_reset:
            self._policy.reset()
        self.steps += 1
        values, failure = None, ""
        try:
            values = self._policy.step(image.frame, key.instruction, image.stamp).values
        except InputError as error:
            failure = str(error)
        self._step = _PendingStep(now + self._latency, key, values, failure)
        self._finish_steps(now)

    def _finish_steps(self, now: float) -> None:
        """Pass the results of all steps that are done by `now` (s) to the Governor, in order."""
        while self._step is not None and self._step.done_time <= now:
            step, self._step = self._step, None
            if step.values is None:
                self.governor.on_step_failed(step.failure, step.key)
            else:
                self._loop.on_action(step.values, step.key)
            self._begin_step(step.done_time)

    def _tick(self, now: float) -> ReplayTick:
        self._finish_steps(now)
        decision = self.governor.tick(now)
        assert isinstance(decision.reason, Reason)
        recorded, reason, instruction = self._recorded, self._recorded_reason, self.governor.instruction
        return ReplayTick(now, decision.velocity, decision.reason, recorded, reason, instruction, self._frame)
