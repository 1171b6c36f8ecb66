"""Detector of stops that are worth recording, from the reasons that the nodes publish."""

from __future__ import annotations

from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.guard import GuardReason

INFERENCE, GUARD = "inference", "velocity_guard"


class StopDetector:
    """Detects stops in the reasons (`NAME: sentence`) of the inference node and the guard.

    An e-stop is a change of either node to disabled. A stop of the guard is any change from forwarding. The first
    reason of a node is the state from before, not an event. The orderly end of a drive by the inference node is not an
    event either, although the guard then misses commands.
    """

    def __init__(self) -> None:
        self._last = {INFERENCE: "", GUARD: ""}

    def update(self, node: str, text: str) -> str:
        """Return the name of a stop such as `velocity_guard_held`; empty if `text` is not a stop."""
        before, self._last[node] = self._last[node], text.partition(":")[0]
        now = self._last[node]
        if before in ("", now) or not self._is_stop(node, before, now):
            return ""
        return f"{node}_{now}".lower()

    def _is_stop(self, node: str, before: str, now: str) -> bool:
        if now == Reason.DISABLED.name:  # also the name of the guard's reason
            return True
        ended_itself = self._last[INFERENCE] == Reason.INACTIVE.name
        return node == GUARD and before == GuardReason.FORWARDING.name and not ended_itself
