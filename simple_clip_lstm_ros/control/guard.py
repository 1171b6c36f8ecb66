"""The Guard: the last check before the base forwards velocities within limits from a living source.

Pure Python without a clock of its own: every time is an argument, in seconds of one steady clock.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Set

from simple_clip_lstm_ros.control.decision import Decision, ReasonDurations
from simple_clip_lstm_ros.control.limits import Limits
from simple_clip_lstm_ros.control.velocity import ZERO, Velocity
from simple_clip_lstm_ros.errors import ConfigError

_COUNTS = ("commands", "commands clipped", "commands dropped", "commands not finite", "sources changed")

# Messages queued during a stall arrive within this time after it ends; they are dropped.
_STALL_GRACE = 0.1  # s


class GuardReason(enum.Enum):
    """Reason why the guard forwards commands or not; the value is the sentence for users."""

    FORWARDING = "forwarding the commands of its source"
    DISABLED = "disabled by the enable service; call it with true to move"
    HELD = "the source of the commands has vanished or changed; call the enable service with true to move again"
    NO_COMMAND = "no command has arrived yet"
    NON_FINITE = "the newest command was not finite"
    COMMAND_STALE = "the newest command is too old"
    ENDED = "the guard ends"


class Guard:
    """Forwards commands that are finite, within limits, fresh, enabled and from known sources.

    `period` is the time between ticks and `timeout` the age from arrival at which a command is stale, in seconds.
    `counts` and `reason_durations` count since construction. Raise ConfigError for a timeout that is not positive and
    finite.
    """

    def __init__(self, limits: Limits, *, period: float, timeout: float) -> None:
        self._period = period
        self._enabled = True
        self._held = False
        self._sources: Set[bytes] = frozenset()
        self._command = ZERO
        self._arrival: float | None = None
        self._velocity = ZERO
        self._published = -math.inf
        self._last_call = math.inf
        self._stall_end = -math.inf
        self.counts = Counter(dict.fromkeys(_COUNTS, 0))
        self.reason_durations = ReasonDurations()
        self.update_limits(limits, timeout)

    def update_limits(self, limits: Limits, timeout: float) -> None:
        """Replace limits and timeout, also while moving. Raise ConfigError as the constructor does."""
        if not 0.0 < timeout < math.inf:
            raise ConfigError(f"guard_timeout must be a positive number of seconds, not {timeout}")
        self.limits = limits
        self.timeout = timeout
        self._velocity = limits.clamp(self._velocity)

    def enable(self, enabled: bool, sources: Set[bytes]) -> bool:
        """Enable motion, or stop (software e-stop); return False if the guard is still held.

        Enabling also ends a hold and accepts `sources`. It does not without sources: the user cannot have checked a
        source that comes later.
        """
        self._enabled = enabled
        if not enabled:
            self._velocity = ZERO
        elif self._held and sources:
            self._held = False
            self._sources = sources
        return not (enabled and self._held)

    def on_command(self, velocity: Velocity, sources: Set[bytes], now: float) -> Decision:
        """Accept a command of one of `sources` at its arrival; return what to publish instead of it."""
        self._observe(sources, now)
        self.counts["commands"] += 1
        if now - self._stall_end < _STALL_GRACE:
            self.counts["commands dropped"] += 1
        else:
            self._accept(velocity, now)
            self._sources = self._sources or sources
        return self._decide(now)

    def tick(self, sources: Set[bytes], now: float) -> Decision | None:
        """Return the zero to publish; None while a fresh command is in force.

        That command was published on arrival. Call once per period.
        """
        self._observe(sources, now)
        return self._decide(now) if self._halt(now) else None

    def _observe(self, sources: Set[bytes], now: float) -> None:
        # After a stall (SIGSTOP, swapping) the queue holds outdated commands. A stall is longer than two periods, since
        # ticks come only once a period, however short the timeout is.
        if now - self._last_call > max(self.timeout, 2.0 * self._period):
            self._stall_end = now
            self._arrival = None if self._arrival is None else -math.inf
        self._last_call = now
        # After the first command, a new source or the end of the last one holds the robot. The end of one of several
        # does not: a killed source stays in the ROS graph for a while together with its successor.
        if self._sources and (not sources or sources - self._sources):
            self._sources = frozenset()
            self._held = True
            self.counts["sources changed"] += 1
        self._sources = self._sources & sources

    def _accept(self, velocity: Velocity, now: float) -> None:
        self._command, self._arrival = velocity, now
        if not velocity.is_finite:
            self.counts["commands not finite"] += 1
        elif self.limits.clamp(velocity) != velocity:
            self.counts["commands clipped"] += 1

    def _decide(self, now: float) -> Decision:
        decision = self._halt(now) or self._forward(now)
        self._velocity, self._published = decision.velocity, now
        self.reason_durations.note(decision.reason, now)
        return Decision(self.limits.apply_deadband(decision.velocity), decision.reason, decision.detail)

    def _halt(self, now: float) -> Decision | None:
        """Return the first reason that stops the robot at once, None if there is none."""
        if not self._enabled:
            return Decision(ZERO, GuardReason.DISABLED)
        if self._held:
            return Decision(ZERO, GuardReason.HELD)
        if self._arrival is None:
            return Decision(ZERO, GuardReason.NO_COMMAND)
        if not now - self._arrival < self.timeout:
            return Decision(ZERO, GuardReason.COMMAND_STALE, f"over {self.timeout:g} s")
        if not self._command.is_finite:
            return Decision(ZERO, GuardReason.NON_FINITE)
        return None

    def _forward(self, now: float) -> Decision:
        """Limit speeding up; never delay slowing down, since the source may have to stop at once."""
        target = self.limits.clamp(self._command)
        # Commands are irregular, so use the time passed; but a late command must not make a large step.
        passed = min(now - self._published, 2.0 * self._period)
        return Decision(
            self.limits.ramp(self._velocity.decelerated_toward(target), target, passed), GuardReason.FORWARDING
        )
