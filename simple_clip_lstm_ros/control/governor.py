"""The Governor: the one place that decides a velocity, and says why.

Pure Python without a clock of its own: every time is an argument, in seconds of one clock (the node passes ROS time).
Everything that can stop the robot is a line of `_halt` or `_drive`.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

# An image stamped further ahead than this belongs to another clock; its age would never grow.
FUTURE_TOLERANCE = 0.1


class Reason(enum.Enum):
    """Why the robot moves or stands; the value is the sentence for people."""

    MOVING = "following the instruction"
    INACTIVE = "the node is not active"
    DISABLED = "disabled by the enable service; call it with true to move"
    UNTRAINED = "the checkpoint's weights are untrained (random); set allow_untrained to move all the same"
    STEP_ERROR = "the last inference step failed"
    NON_FINITE = "the last action was not finite"
    NO_IMAGE = "no image has arrived yet"
    IMAGE_STALE = "the newest image is too old"
    INSTRUCTION_REFUSED = "the last instruction was refused"
    NO_INSTRUCTION = "no instruction is set"
    STOPPING = "the instruction was cleared or replaced; slowing down"
    NO_ACTION = "waiting for the first action for this instruction"
    COMMAND_STALE = "the newest action is too old"


@dataclass(frozen=True)
class Decision:
    """What to command now. `detail` completes the reason's sentence with what is particular to this case."""

    velocity: Velocity
    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.reason.value}" + (f" ({self.detail})" if self.detail else "")


class Governor:
    """Turns actions into velocities that are within limits, fresh, and wanted.

    `period` is the time between ticks, `image_timeout` and `command_timeout` are counted from the image's stamp, all in
    seconds. `may_move` is False for untrained weights that nobody allowed. Not thread-safe: the caller holds one lock
    around every call. Raises ConfigError for a time that is not positive and finite.
    """

    def __init__(
        self, limits: Limits, *, period: float, image_timeout: float, command_timeout: float, may_move: bool
    ) -> None:
        times = {"period": period, "image_timeout": image_timeout, "command_timeout": command_timeout}
        for name, seconds in times.items():
            if not 0.0 < seconds < float("inf"):
                raise ConfigError(f"{name} must be a positive number of seconds, not {seconds}")
        self.limits = limits
        self.image_timeout = image_timeout
        self.command_timeout = command_timeout
        self._period = period
        self._may_move = may_move
        self._enabled = True
        self.deactivate()

    # What the world says.

    def activate(self) -> None:
        self.deactivate()
        self._active = True

    def deactivate(self) -> None:
        """Forget everything but `enabled`: what was true before says nothing about the next activation."""
        self._active = False
        self._instruction = ""
        self._refusal = ""
        self._image_stamp: float | None = None
        self._set_action(None)
        self._velocity = ZERO

    def enable(self, enabled: bool) -> None:
        """The software e-stop. It survives activation, new instructions and resets."""
        self._enabled = enabled

    @property
    def instruction(self) -> str:
        return self._instruction

    def instruct(self, text: str) -> None:
        """Set the instruction; blank clears it. Actions for another instruction no longer count."""
        self._refusal = ""
        text = text.strip()
        if text != self._instruction:
            self._instruction = text
            self._set_action(None)

    def refuse(self, why: str) -> None:
        """An instruction that cannot be used: the robot stops rather than follow the one before it."""
        self.instruct("")
        self._refusal = why

    def image(self, stamp: float, now: float) -> bool:
        """Note an image; False if its stamp is too far ahead of `now` to be believed."""
        if stamp > now + FUTURE_TOLERANCE:
            return False
        self._image_stamp = stamp
        return True

    def action(self, velocity: Velocity, stamp: float, instruction: str) -> None:
        """Take the action computed for `instruction` from the image stamped `stamp`; dropped if that has changed."""
        if instruction == self._instruction:
            self._set_action(velocity, stamp)

    def step_failed(self, why: str) -> None:
        """A step that raised; the robot stands until one succeeds."""
        self._set_action(None, failure=why)

    def _set_action(self, action: Velocity | None, stamp: float = 0.0, failure: str = "") -> None:
        self._action = action
        self._action_stamp = stamp
        self._failure = failure

    # What follows from it.

    def tick(self, now: float) -> Decision:
        """Decide the velocity to command at `now`. Call once per period: a late tick must not make a larger step."""
        self._forget_the_future(now)
        decision = self._halt(now) or self._drive(now)
        self._velocity = decision.velocity
        commanded = self.limits.without_deadband(decision.velocity)
        return Decision(commanded, decision.reason, decision.detail)

    def _halt(self, now: float) -> Decision | None:
        """Everything that stops the robot at once."""
        if not self._active:
            return Decision(ZERO, Reason.INACTIVE)
        if not self._enabled:
            return Decision(ZERO, Reason.DISABLED)
        if not self._may_move:
            return Decision(ZERO, Reason.UNTRAINED)
        if self._failure:
            return Decision(ZERO, Reason.STEP_ERROR, self._failure)
        if self._action is not None and not self._action.is_finite:
            return Decision(ZERO, Reason.NON_FINITE)
        if self._refusal:
            return Decision(ZERO, Reason.INSTRUCTION_REFUSED, self._refusal)
        if self._image_stamp is None:
            return Decision(ZERO, Reason.NO_IMAGE)
        if not now - self._image_stamp < self.image_timeout:
            return Decision(ZERO, Reason.IMAGE_STALE, f"over {self.image_timeout:g} s")
        return None

    def _drive(self, now: float) -> Decision:
        if not self._instruction or self._action is None:
            return self._ramp_down()
        if not now - self._action_stamp < self.command_timeout:
            return Decision(ZERO, Reason.COMMAND_STALE, f"over {self.command_timeout:g} s")
        target = self.limits.clamp(self._action)
        return Decision(self.limits.ramp(self._velocity, target, self._period), Reason.MOVING)

    def _ramp_down(self) -> Decision:
        """An instruction cleared or replaced is the one ordinary stop: the robot slows down within max_decel."""
        velocity = self.limits.ramp(self._velocity, ZERO, self._period)
        if not velocity.is_zero:
            return Decision(velocity, Reason.STOPPING)
        return Decision(ZERO, Reason.NO_ACTION if self._instruction else Reason.NO_INSTRUCTION)

    def _forget_the_future(self, now: float) -> None:
        """What is stamped ahead of `now` is left from before the clock jumped back: old for ever, not young again."""
        if self._image_stamp is not None and self._image_stamp > now + FUTURE_TOLERANCE:
            self._image_stamp = -math.inf
        if self._action_stamp > now + FUTURE_TOLERANCE:
            self._action_stamp = -math.inf
