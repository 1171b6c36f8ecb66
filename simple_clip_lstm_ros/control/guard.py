"""The Guard: the last reflex before the base. It trusts a velocity only while its source lives, and only within limits.

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

# What waited in line while the guard slept is delivered within this after it wakes.
_GRACE = 0.1  # s


class GuardReason(enum.Enum):
    """Why the guard lets a command through or not; the value is the sentence for people."""

    FORWARDING = "forwarding the commands of its source"
    DISABLED = "disabled by the enable service; call it with true to move"
    HELD = "the source of the commands has vanished or changed; call the enable service with true to move again"
    NO_COMMAND = "no command has arrived yet"
    NON_FINITE = "the newest command was not finite"
    COMMAND_STALE = "the newest command is too old"
    ENDED = "the guard ends"


class Guard:
    """Judges commands by their arrival: finite, within limits, fresh, enabled, and from whom they came before.

    `period` is the time between ticks and `timeout` the age at which a command no longer counts, in seconds.
    `counts` and `spells` tell what has happened. Raises ConfigError for a timeout that is not positive and finite.
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
        self._called = math.inf
        self._awake = -math.inf
        self.counts = Counter(dict.fromkeys(_COUNTS, 0))
        self.reason_durations = ReasonDurations()
        self.update_limits(limits, timeout)

    def update_limits(self, limits: Limits, timeout: float) -> None:
        """Replace limits and timeout, also while moving."""
        if not 0.0 < timeout < math.inf:
            raise ConfigError(f"guard_timeout must be a positive number of seconds, not {timeout}")
        self.limits = limits
        self.timeout = timeout
        self._velocity = limits.clamp(self._velocity)

    def enable(self, enabled: bool, sources: Set[bytes]) -> bool:
        """The software e-stop. True also ends a hold and accepts those of `sources`; False if there is none to accept:
        nobody can have looked at one that comes later."""
        self._enabled = enabled
        if not enabled:
            self._velocity = ZERO
        elif self._held and sources:
            self._held = False
            self._sources = sources
        return not (enabled and self._held)

    def command(self, velocity: Velocity, sources: Set[bytes], now: float) -> Decision:
        """Take a command that has just arrived, from one of `sources`; what to publish in its place."""
        self._observe(sources, now)
        self.counts["commands"] += 1
        if now - self._awake < _GRACE:
            self.counts["commands dropped"] += 1
        else:
            self._take(velocity, now)
            self._sources = self._sources or sources
        return self._decide(now)

    def tick(self, sources: Set[bytes], now: float) -> Decision | None:
        """Once per period: the zero to publish; None while a fresh command is in force, published on its arrival."""
        self._observe(sources, now)
        return self._decide(now) if self._halt(now) else None

    def _observe(self, sources: Set[bytes], now: float) -> None:
        # After a sleep (SIGSTOP, a machine that swaps) commands wait in line that were meant for another moment.
        # Ticks alone come once a period, however short the timeout.
        if now - self._called > max(self.timeout, 2.0 * self._period):
            self._awake = now
            self._arrival = None if self._arrival is None else -math.inf
        self._called = now
        # Once somebody has commanded, a newcomer or the last one's end holds the robot. That one of several goes does
        # not: a killed source lives on in the graph for a while beside the one that took its place.
        if self._sources and (not sources or sources - self._sources):
            self._sources = frozenset()
            self._held = True
            self.counts["sources changed"] += 1
        self._sources = self._sources & sources

    def _take(self, velocity: Velocity, now: float) -> None:
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
        """Everything that stops the robot, at once."""
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
        """Speeding up is limited; slowing down is never delayed, since the source may have to stop at once."""
        target = self.limits.clamp(self._command)
        # Commands come unevenly, hence the time that has passed; but a late one must not make a large step.
        passed = min(now - self._published, 2.0 * self._period)
        return Decision(
            self.limits.ramp(self._velocity.decelerated_toward(target), target, passed), GuardReason.FORWARDING
        )
