"""When the robot was stopped: from what the nodes say of themselves to the word that it is worth keeping."""

from __future__ import annotations

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason

INFERENCE, GUARD = "inference", "velocity_guard"


class StopDetector:
    """Hears the reasons (`NAME: sentence`) of the inference node and of the guard.

    An e-stop is when either of them gets disabled, a guard's stop when it no longer forwards, for whatever reason. What
    a node says first is how things were before, and no event. A drive that the inference node has ended itself is none
    either, though the guard then misses its commands.
    """

    def __init__(self) -> None:
        self._last = {INFERENCE: "", GUARD: ""}

    def update(self, node: str, text: str) -> str:
        """The name of the stop, as `velocity_guard_held`; empty where there is none."""
        before, self._last[node] = self._last[node], text.partition(":")[0]
        now = self._last[node]
        if before in ("", now) or not self._is_stop(node, before, now):
            return ""
        return f"{node}_{now}".lower()

    def _is_stop(self, node: str, before: str, now: str) -> bool:
        if now == Reason.DISABLED.name:  # as the guard's is called, too
            return True
        ended_itself = self._last[INFERENCE] == Reason.INACTIVE.name
        return node == GUARD and before == GuardReason.FORWARDING.name and not ended_itself
