"""The drive that the demo shows: what the robot is told and when, what is kept of it, and what became of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from simple_clip_lstm_ros.cli.drive_gif import PERIOD, DriveGif
from simple_clip_lstm_ros.cli.live_table import status_row
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.harness.node_harness import DriveObserver, NodeHarness
from simple_clip_lstm_ros.sim.layout import Cylinder, Layout, Pose
from simple_clip_lstm_ros.sim.plot import InstructionMark, plot_drive
from simple_clip_lstm_ros.sim.world import Outcome

_IDLE = 3.5  # s without an instruction
_TIMEOUT = 10.0  # s for the robot to move at all


class DemoDrive:
    """On a Stage with a robot in the world `layout`."""

    def __init__(self, stage: NodeHarness, layout: Layout) -> None:
        self._stage = stage
        self._layout = layout
        self._witness = DriveObserver(stage)
        self._told: list[InstructionMark] = []
        self._seconds = 0.0  # since the first instruction
        self._film = DriveGif()

    def is_untrained(self) -> bool:
        self._stage.spin_for(2.0, lambda: "untrained" in self._stage.diagnostics)
        return self._stage.diagnostics.get("untrained") == "True"

    def steps(self, instructions: Sequence[str], seconds: float) -> Iterator[tuple[str, dict[str, str]]]:
        """For `show`: a moment without an instruction, the first, and half-way to the box the others.

        Until the drive has ended, or `seconds` have passed, or the robot has not moved for too long.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < _IDLE:
            yield "no instruction yet: the command is zero", self._look()
        self._witness.begin()
        begin, left = time.monotonic(), [*instructions]
        while not self._has_ended() and self._seconds < min(seconds, math.inf if self._has_moved() else _TIMEOUT):
            if left and (not self._told or self._layout.is_halfway(self._witness.path[-1])):
                self._told.append(InstructionMark(left.pop(0), len(self._witness.path) - 1))
                self._stage.instruct(self._told[-1].instruction)
            yield f'instruction: "{self._told[-1].instruction}"', self._look()
            self._seconds = time.monotonic() - begin

    def _look(self) -> dict[str, str]:
        self._stage.spin_for(PERIOD, self._has_ended)
        path = self._witness.path
        row = status_row(self._stage, path[-1] if path else None, self._layout.cup)
        if self._stage.image is not None and path:
            text = self._told[-1].instruction if self._told else "no instruction"
            lines = (text, f"{self._seconds:4.1f} s   {row['command']}   {row['reason']}")
            self._film.take(to_rgb(self._stage.image), lines, len(path) if self._told else 1)
        return row

    def _has_ended(self) -> bool:
        outcome = self._witness.outcome
        return bool(self._told) and outcome is not None and outcome.ended

    def _has_moved(self) -> bool:
        return self._witness.path[-1] != self._witness.path[0]

    def conclude(self, folder: Path) -> str:
        """Writes the pictures and tells what the robot did. Raises SimpleClipLstmError if that was nothing at all."""
        if not self._has_moved():
            raise SimpleClipLstmError(f"the robot did not move on the instruction: {self._stage.reason}")
        path, outcome = self._witness.path, self._witness.outcome
        good = outcome is not None and outcome.reached and not outcome.contact
        plot_drive(self._layout, path, self._told, folder / "trajectory.png", good=good)
        self._film.write(folder / "drive.gif", self._layout, path)
        return describe_outcome(outcome, path[-1], self._layout.cup, self._seconds)


def describe_outcome(outcome: Outcome | None, pose: Pose, cup: Cylinder, seconds: float) -> str:
    """What the robot did, at most `seconds` long, until it was at this pose."""
    away = f"{math.hypot(cup.x - pose.x, cup.y - pose.y):.1f} m away"
    side = f", passed on the {outcome.side}" if outcome and outcome.side else ""
    if outcome and outcome.contact:
        return f"touched something after {outcome.time:.1f} s{side}, and the cup was {away}"
    if outcome and outcome.reached:
        return f"reached the cup in {outcome.time:.1f} s{side}, touched nothing"
    return f"did not reach the cup in {seconds:.0f} s{side}, and was {away} from it at the end; touched nothing"
