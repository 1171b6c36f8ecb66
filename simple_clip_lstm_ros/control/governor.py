"""The Governor, which alone decides the velocity of the robot and gives the reason for it.

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

# s; the clocks of one robot agree within this. An image stamped further ahead comes from another clock, and its age
# would never grow; a clock that goes back further has jumped.
CLOCK_TOLERANCE = 0.1

_COUNTS = (
    *("images", "images from the future", "images from the past"),
    *("actions", "actions clipped", "actions dropped", "actions not finite", "steps failed"),
    *("instructions refused", "clock jumps back"),
)


class Reason(enum.Enum):
    """Reason why the robot moves or does not; the value is the sentence for users."""

    MOVING = "following the instruction"
    INACTIVE = "the node is not active"
    DISABLED = "disabled by the enable service; call it with true to move"
    UNTRAINED = "the checkpoint's weights are untrained (random); set allow_untrained to move anyway"
    STEP_ERROR = "the last inference step failed"
    NON_FINITE = "the last action was not finite"
    INSTRUCTION_REFUSED = "the last instruction was refused"
    CLOCK_STOPPED = "the clock does not advance, so the age of data is unknown; is /clock published?"
    NO_IMAGE = "no image has arrived yet"
    IMAGE_STALE = "the newest image is too old"
    NO_INSTRUCTION = "no instruction is set"
    STOP_PHRASE = "the instruction asks the robot to stop"
    STOPPING = "the instruction was cleared or replaced; slowing down"
    NO_ACTION = "waiting for the first action for this instruction"
    COMMAND_STALE = "the newest action is too old"


@dataclass(frozen=True)
class ObservationKey:
    """Identifies the observation of an action: the image's stamp and the instruction at its arrival.

    `generation` increases on activation, deactivation and clock jumps; actions of an older generation are dropped.
    """

    stamp: float
    instruction: str
    generation: int


class Governor:
    """Turns actions into velocities that are within limits, fresh, and wanted.

    `period` is the time between ticks; `image_timeout` and `command_timeout` count from the image's stamp; all are in
    seconds. `may_move` is False for untrained weights that the user has not allowed. `counts` and `reason_durations`
    count since activation. Not thread-safe: the caller must hold one lock around every call. Raise ConfigError for a
    time that is not positive and finite.
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
        """Replace limits and timeouts, also while moving; clamp the present velocity to the new limits at once."""
        _check_times(image_timeout=image_timeout, command_timeout=command_timeout)
        self.limits = limits
        self.image_timeout = image_timeout
        self.command_timeout = command_timeout
        self._velocity = limits.clamp(self._velocity)

    # Inputs.

    def activate(self) -> None:
        self._reset_counts()
        self.deactivate()
        self._active = True

    def deactivate(self) -> None:
        """Discard all state except `enabled`: the next activation must not depend on this one."""
        self._active = False
        self._instruction = ""
        self._rejection = self._stop_phrase = ""
        self._image_stamp: float | None = None
        self._is_image_stale = False
        self._new_generation()

    def _reset_counts(self) -> None:
        self.counts = Counter(dict.fromkeys(_COUNTS, 0))
        self.reason_durations = ReasonDurations()
        self._ticks = 0

    def _new_generation(self) -> None:
        """Set the velocity to zero, and invalidate all actions on earlier observations."""
        self._generation += 1
        self._velocity = ZERO
        self._still_ticks = 0
        self._set_action(None)

    def enable(self, enabled: bool) -> None:
        """Enable motion, or stop (software e-stop). Activation, instructions and resets do not change it."""
        self._enabled = enabled

    @property
    def instruction(self) -> str:
        return self._instruction

    def set_instruction(self, text: str) -> None:
        """Set the instruction; blank clears it. Actions for another instruction no longer count."""
        self._rejection = self._stop_phrase = ""
        text = text.strip()
        if text != self._instruction:
            self._instruction = text
            self._set_action(None)

    def stop(self, phrase: str) -> None:
        """Clear the instruction because `phrase` asks for it: the robot slows down within max_decel."""
        self.set_instruction("")
        self._stop_phrase = phrase.strip()

    def reject_instruction(self, why: str) -> None:
        """Stop because the newest instruction is unusable; the one before it must not be followed."""
        self.counts["instructions refused"] += 1
        self.set_instruction("")
        self._rejection = why

    def on_image(self, stamp: float, now: float) -> ObservationKey | None:
        """Note an image and return its key; None if its stamp forbids its use.

        That is a stamp too far ahead of `now`, or behind the newest image's.
        """
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
        """Accept the action computed on the observation `key`; drop it if the key is outdated.

        It is outdated after a new generation, another instruction, or an action on a newer image.
        """
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
        """Stop until a step succeeds, because a step on `key` raised; drop it like an action."""
        self.counts["steps failed"] += 1
        if self._is_current(key):
            self._set_action(None, failure=why)

    def _is_current(self, key: ObservationKey) -> bool:
        is_present = (key.generation, key.instruction) == (self._generation, self._instruction)
        return is_present and key.stamp >= self._action_stamp

    def _set_action(self, action: Velocity | None, stamp: float = -math.inf, failure: str = "") -> None:
        self._action = action
        self._action_stamp = stamp
        self._is_action_stale = False
        self._failure = failure

    # Outputs.

    def halt(self, now: float) -> Decision | None:
        """Return what stops the robot at once, None if nothing does.

        The caller should command it without waiting for the next tick.
        """
        self._observe(now)
        decision = self._halt()
        if decision is not None:
            self._velocity = ZERO
        return decision

    def tick(self, now: float) -> Decision:
        """Return the velocity to command at `now`.

        Call once per period: a late tick must not make a larger step.
        """
        self._observe(now)
        self._still_ticks = self._still_ticks + 1 if self._now == self._last_tick else 0
        self._last_tick = self._now
        decision = self._halt() or self._drive()
        self._velocity = decision.velocity
        self._ticks += 1
        self.reason_durations.note(decision.reason, self._ticks * self._period)
        return Decision(self.limits.apply_deadband(decision.velocity), decision.reason, decision.detail)

    def _observe(self, now: float) -> None:
        """Advance the time to `now`, and mark stale data.

        After a jump back the age of earlier data is unknown, now and later. Stale data stays stale, whatever the clock
        or a longer timeout says later.
        """
        if now < self._now - CLOCK_TOLERANCE:
            self.counts["clock jumps back"] += 1
            self._new_generation()
            self._now = -math.inf
            if self._image_stamp is not None:
                self._image_stamp = -math.inf
        self._now = max(self._now, now)
        # Keep the stamps: data older than them is still too late.
        if self._image_stamp is not None and not self._now - self._image_stamp < self.image_timeout:
            self._is_image_stale = True
        if not self._now - self._action_stamp < self.command_timeout:
            self._is_action_stale = True

    def _halt(self) -> Decision | None:
        """Return the first reason that stops the robot at once, None if there is none."""
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
        if self._rejection:
            return Decision(ZERO, Reason.INSTRUCTION_REFUSED, self._rejection)
        # Ticks use another clock, so they show that this one has stopped.
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
        """Slow down within max_decel: the only stop that is not immediate (instruction cleared or replaced)."""
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
