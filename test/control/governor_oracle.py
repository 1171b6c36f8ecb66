"""Oracle for the Governor: derives the expected reason from a log of events."""

from __future__ import annotations

import math
from itertools import pairwise, takewhile
from typing import Any

from simple_clip_lstm_ros.control.governor import CLOCK_TOLERANCE, Reason
from simple_clip_lstm_ros.control.velocity import Velocity


class Oracle:
    def __init__(self, period: float, image_timeout: float, command_timeout: float) -> None:
        self.period, self.image_timeout, self.command_timeout = period, image_timeout, command_timeout
        self.log: list[tuple[str, Any]] = []

    def latest(self, *names: str, before: int | None = None) -> int:
        """Return the log index of the latest of these events; -1 if there was none."""
        end = len(self.log) if before is None else before
        return next((i for i in range(end - 1, -1, -1) if self.log[i][0] in names), -1)

    def observe(self, now: float) -> None:
        """Log the latest time; a time far behind it is a jump back, and the latest from then on.

        Also log which data is stale by then: it stays stale.
        """
        if now < self.time() - CLOCK_TOLERANCE:
            self.log.append(("jump", -math.inf))
        self.log.append(("time", max(now, self.time())))
        for name, timeout in (("image", self.image_timeout), ("action", self.command_timeout)):
            newest = self.latest(name)
            if newest >= 0 and not self.is_stale(name) and self.time() - self.stamp(newest) >= timeout:
                self.log.append((f"stale {name}", None))

    def is_stale(self, name: str) -> bool:
        """Return whether the newest image, or action, has been observed as too old."""
        return self.latest(f"stale {name}") > self.latest(name)

    def stamp(self, at: int) -> float:
        """Return the stamp of an image, or of the image of an action."""
        name, what = self.log[at]
        return what if name == "image" else what[1]

    def time(self) -> float:
        seen = self.latest("time", "jump")
        return self.log[seen][1] if seen >= 0 else -math.inf

    def generation(self) -> int:
        return self.latest("activate", "deactivate", "jump")

    def text(self, at: int | None = None) -> str:
        """Return the instruction in force now, or at the log index `at`."""
        said = self.latest("text", before=at)
        return self.log[said][1] if said > self.latest("activate", "deactivate", before=at) else ""

    def say(self, text: str) -> None:
        if text != self.text():
            self.log.append(("text", text))

    def see(self, stamp: float, now: float) -> int | None:
        """Log an image; return its log index, or None if it does not count."""
        self.observe(now)
        newest = self.latest("image")
        if stamp > now + CLOCK_TOLERANCE or (newest > self.generation() and stamp < self.stamp(newest)):
            return None
        self.log.append(("image", stamp))
        return len(self.log) - 1

    def act(self, velocity: Velocity, image: int) -> None:
        if self.is_current(image):
            self.log.append(("action", (velocity, self.stamp(image))))

    def fail(self, image: int) -> None:
        if self.is_current(image):
            self.log.append(("failure", None))

    def is_current(self, image: int) -> bool:
        """Return whether an action or failure on this image still counts."""
        newest = self.latest("action")
        is_late = newest > max(self.ended(), self.latest("failure")) and self.stamp(image) < self.stamp(newest)
        return image > self.generation() and self.text(at=image) == self.text() and not is_late

    def ended(self) -> int:
        """Return the log index before which no action counts."""
        return max(self.generation(), self.latest("text"))

    def still_ticks(self) -> int:
        """Return how many of the last ticks saw no later time than the tick before."""
        ticks = [(i, seen) for i, (name, seen) in enumerate(self.log) if name == "tick"][::-1]
        generation, pairs = self.generation(), pairwise(ticks)
        return len(list(takewhile(lambda pair: pair[0][1] == pair[1][1] and pair[0][0] > generation, pairs)))

    def reason(self) -> Reason:
        """Return why the robot should move or stand; STOPPING also at rest."""
        enabled, acted, failed, seen = map(self.latest, ("enable", "action", "failure", "image"))
        life = self.latest("activate", "deactivate")
        has_action = acted > max(self.ended(), failed)
        if self.log[life][0] != "activate":
            return Reason.INACTIVE
        if enabled >= 0 and not self.log[enabled][1]:
            return Reason.DISABLED
        if failed > max(self.ended(), acted):
            return Reason.STEP_ERROR
        if has_action and not all(map(math.isfinite, self.log[acted][1][0].as_tuple())):
            return Reason.NON_FINITE
        if self.latest("refuse") > max(life, self.latest("instruct", "stop")):
            return Reason.INSTRUCTION_REFUSED
        if self.still_ticks() * self.period >= min(self.image_timeout, self.command_timeout):
            return Reason.CLOCK_STOPPED
        if seen < life:
            return Reason.NO_IMAGE
        if seen < self.generation() or self.is_stale("image"):
            return Reason.IMAGE_STALE
        if not self.text() or not has_action:
            return Reason.STOPPING
        return Reason.COMMAND_STALE if self.is_stale("action") else Reason.MOVING
