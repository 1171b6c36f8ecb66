"""What the dashboard knows of the robot, as the page is told it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simple_clip_lstm_ros.control.velocity import Velocity

_SILENT = 2.0  # s without diagnostics, which come twice a second


@dataclass
class Party:
    """A node that is watched: `inference` or `velocity_guard`."""

    reason: str = ""
    level: int = 0  # as diagnostics count: OK, WARN, ERROR, STALE
    values: Mapping[str, str] = field(default_factory=dict)
    heard_at: float | None = None  # monotonic

    def report(self, level: int, values: Mapping[str, str]) -> None:
        self.level, self.values, self.heard_at = level, values, time.monotonic()

    def present(self) -> dict[str, Any]:
        silent = self.heard_at is None or time.monotonic() - self.heard_at > _SILENT
        return {
            "reason": self.reason,
            "level": self.level,
            "values": dict(self.values),
            "heard_at": self.heard_at,
            "silent": silent,
        }


class Board:
    """Written by the executor's thread, read by the web's: what is there is replaced, never changed."""

    def __init__(self) -> None:
        self.inference = Party()
        self.guard = Party()
        self._command: tuple[float, ...] | None = None
        self._action: tuple[float, ...] | None = None

    def command(self, velocity: Velocity) -> None:
        self._command = (time.monotonic(), *velocity.as_tuple())

    def action(self, velocity: Velocity) -> None:
        self._action = (time.monotonic(), *velocity.as_tuple())

    def present(self) -> dict[str, Any]:
        """Times in seconds of a clock of its own; velocities in m/s, m/s and rad/s after the time of their arrival."""
        return {
            "now": time.monotonic(),
            "command": self._command,
            "action": self._action,
            "inference": self.inference.present(),
            "guard": self.guard.present(),
        }
