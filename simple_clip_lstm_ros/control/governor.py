"""The Governor: the one place that decides a velocity, and says why.

Pure Python without a clock of its own: every time is an argument, in seconds of one clock (the node passes ROS time).
Everything that can stop the robot is a line of `_halt` or `_drive`.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass

from simple_clip_lstm_ros.control.decision import Decision, ReasonDurations
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

# Clocks of one robot agree within this. An image stamped further ahead belongs to another clock, and its age would
# never grow; a clock that goes back further has jumped.
CLOCK_TOLERANCE = 0.1

_COUNTS = (
    *("images", "images from the future", "images from the past"),
    *("actions", "actions clipped", "actions dropped", "actions not finite", "steps failed"),
    *("instructions refused", "clock jumps back"),
)


class Reason(enum.Enum):
    """Why the robot moves or stands; the value is the sentence for people."""

    MOVING = "following the instruction"
    INACTIVE = "the node is not active"
    DISABLED = "disabled by the enable service; call it with true to move"
    UNTRAINED = "the checkpoint's weights are untrained (random); set allow_untrained to move all the same"
    STEP_ERROR = "the last inference step failed"
    NON_FINITE = "the last action was not finite"
    INSTRUCTION_REFUSED = "the last instruction was refused"
    CLOCK_STOPPED = "the clock stands still, so nothing tells how old the data is; is /clock published?"
    NO_IMAGE = "no image has arrived yet"
    IMAGE_STALE = "the newest image is too old"
    NO_INSTRUCTION = "no instruction is set"
    STOP_PHRASE = "the instruction asks the robot to stop"
    STOPPING = "the instruction was cleared or replaced; slowing down"
    NO_ACTION = "waiting for the first action for this instruction"
    COMMAND_STALE = "the newest action is too old"


@dataclass(frozen=True)
class ObservationKey:
    """An image that counts, and the instruction in force when it came: what an action answers.

    `era` ends whenever time or activation starts anew: an action on a sight of an earlier era comes too late.
    """

    stamp: float
    instruction: str
    generation: int


class Governor:
    """Turns actions into velocities that are within limits, fresh, and wanted.

    `period` is the time between ticks, `image_timeout` and `command_timeout` are counted from the image's stamp, all in
    seconds. `may_move` is False for untrained weights that nobody allowed. `counts` and `spells` tell what has happened
    since activation. Not thread-safe: the caller holds one lock around every call. Raises ConfigError for a time that
    is not positive and finite.
    """

    def __init__(
        self, limits: Limits, *, period: float, image_timeout: float, command_timeout: float, may_move: bool
    ) -> None:
        _check_times(period=period)
        self._period = period
        self._may_move = may_move
        self._enabled = True
        self._generation = 0
        self._now = self._last_tick = -math.inf
        self._velocity = ZERO
        self.update_limits(limits, image_timeout=image_timeout, command_timeout=command_timeout)
        self._reset_counts()
        self.deactivate()

    def update_limits(self, limits: Limits, *, image_timeout: float, command_timeout: float) -> None:
        """Replace limits and timeouts, also while moving: what is above a new limit comes down to it at once."""
        _check_times(image_timeout=image_timeout, command_timeout=command_timeout)
        self.limits = limits
        self.image_timeout = image_timeout
        self.command_timeout = command_timeout
        self._velocity = limits.clamp(self._velocity)

    # What the world says.

    def activate(self) -> None:
        self._reset_counts()
        self.deactivate()
        self._active = True

    def deactivate(self) -> None:
        """Forget everything but `enabled`: what was true before says nothing about the next activation."""
        self._active = False
        self._instruction = ""
        self._refusal = self._stop_phrase = ""
        self._image_stamp: float | None = None
        self._is_image_stale = False
        self._new_generation()

    def _reset_counts(self) -> None:
        self.counts = Counter(dict.fromkeys(_COUNTS, 0))
        self.reason_durations = ReasonDurations()
        self._ticks = 0

    def _new_generation(self) -> None:
        """From rest, and no action on what was seen until now counts any more."""
        self._generation += 1
        self._velocity = ZERO
        self._still_ticks = 0
        self._set_action(None)

    def enable(self, enabled: bool) -> None:
        """The software e-stop. It survives activation, new instructions and resets."""
        self._enabled = enabled

    @property
    def instruction(self) -> str:
        return self._instruction

    def set_instruction(self, text: str) -> None:
        """Set the instruction; blank clears it. Actions for another instruction no longer count."""
        self._refusal = self._stop_phrase = ""
        text = text.strip()
        if text != self._instruction:
            self._instruction = text
            self._set_action(None)

    def stop(self, phrase: str) -> None:
        """Clear the instruction because `phrase` asks for it: the robot slows down within max_decel."""
        self.set_instruction("")
        self._stop_phrase = phrase.strip()

    def reject_instruction(self, why: str) -> None:
        """An instruction that cannot be used: the robot stops rather than follow the one before it."""
        self.counts["instructions refused"] += 1
        self.set_instruction("")
        self._refusal = why

    def on_image(self, stamp: float, now: float) -> ObservationKey | None:
        """Note an image; None if its stamp is too far ahead of `now`, or behind the newest image's: not to be used."""
        self._observe(now)
        self.counts["images"] += 1
        if stamp > now + CLOCK_TOLERANCE:
            self.counts["images from the future"] += 1
            return None
        if self._image_stamp is not None and stamp < self._image_stamp:
            self.counts["images from the past"] += 1
            return None
        self._image_stamp = stamp
        self._is_image_stale = False
        return ObservationKey(stamp, self._instruction, self._generation)

    def on_action(self, velocity: Velocity, key: ObservationKey) -> None:
        """Take the action computed on `sight`; dropped if time, instruction or a newer action has gone past it."""
        self.counts["actions"] += 1
        if not self._is_current(key):
            self.counts["actions dropped"] += 1
            return
        self._set_action(velocity, key.stamp)
        if not velocity.is_finite:
            self.counts["actions not finite"] += 1
        elif self.limits.clamp(velocity) != velocity:
            self.counts["actions clipped"] += 1

    def on_step_failed(self, why: str, key: ObservationKey) -> None:
        """A step on `sight` that raised; the robot stands until one succeeds. Dropped as an action would be."""
        self.counts["steps failed"] += 1
        if self._is_current(key):
            self._set_action(None, failure=why)

    def _is_current(self, key: ObservationKey) -> bool:
        is_of_now = (key.generation, key.instruction) == (self._generation, self._instruction)
        return is_of_now and key.stamp >= self._action_stamp

    def _set_action(self, action: Velocity | None, stamp: float = -math.inf, failure: str = "") -> None:
        self._action = action
        self._action_stamp = stamp
        self._is_action_stale = False
        self._failure = failure

    # What follows from it.

    def halt(self, now: float) -> Decision | None:
        """What stops the robot at once, to be commanded without waiting for the next tick; None if nothing does."""
        self._observe(now)
        decision = self._halt()
        if decision is not None:
            self._velocity = ZERO
        return decision

    def tick(self, now: float) -> Decision:
        """Decide the velocity to command at `now`. Call once per period: a late tick must not make a larger step."""
        self._observe(now)
        self._still_ticks = self._still_ticks + 1 if self._now == self._last_tick else 0
        self._last_tick = self._now
        decision = self._halt() or self._drive()
        self._velocity = decision.velocity
        self._ticks += 1
        self.reason_durations.note(decision.reason, self._ticks * self._period)
        return Decision(self.limits.apply_deadband(decision.velocity), decision.reason, decision.detail)

    def _observe(self, now: float) -> None:
        """Time goes forward. After a jump back the ages of what was seen before mean nothing, now or later.

        And what has gone stale stays so, whatever a clock or a longer timeout says later.
        """
        if now < self._now - CLOCK_TOLERANCE:
            self.counts["clock jumps back"] += 1
            self._new_generation()
            self._now = -math.inf
            if self._image_stamp is not None:
                self._image_stamp = -math.inf
        self._now = max(self._now, now)
        # The stamps stay: what is older than them still comes too late.
        if self._image_stamp is not None and not self._now - self._image_stamp < self.image_timeout:
            self._is_image_stale = True
        if not self._now - self._action_stamp < self.command_timeout:
            self._is_action_stale = True

    def _halt(self) -> Decision | None:
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
        # Ticks come by a clock of their own, which tells that this one has stopped.
        if self._still_ticks * self._period >= min(self.image_timeout, self.command_timeout):
            return Decision(ZERO, Reason.CLOCK_STOPPED)
        if self._image_stamp is None:
            return Decision(ZERO, Reason.NO_IMAGE)
        if self._is_image_stale:
            return Decision(ZERO, Reason.IMAGE_STALE, f"over {self.image_timeout:g} s")
        return None

    def _drive(self) -> Decision:
        if not self._instruction or self._action is None:
            return self._ramp_down()
        if self._is_action_stale:
            return Decision(ZERO, Reason.COMMAND_STALE, f"over {self.command_timeout:g} s")
        target = self.limits.clamp(self._action)
        return Decision(self.limits.ramp(self._velocity, target, self._period), Reason.MOVING)

    def _ramp_down(self) -> Decision:
        """An instruction cleared or replaced is the one ordinary stop: the robot slows down within max_decel."""
        velocity = self.limits.ramp(self._velocity, ZERO, self._period)
        if not velocity.is_zero:
            return Decision(velocity, Reason.STOPPING)
        if self._stop_phrase:
            return Decision(ZERO, Reason.STOP_PHRASE, self._stop_phrase)
        return Decision(ZERO, Reason.NO_ACTION if self._instruction else Reason.NO_INSTRUCTION)


def _check_times(**times: float) -> None:
    for name, seconds in times.items():
        if not 0.0 < seconds < math.inf:
            raise ConfigError(f"{name} must be a positive number of seconds, not {seconds}")
