"""The drive of the demo: its instructions, its recording as map and GIF, and its outcome in words."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from simple_clip_lstm_ros.cli.drive_gif import PERIOD, DriveGif
from simple_clip_lstm_ros.cli.live_table import status_row
from simple_clip_lstm_ros.data.image_decoding import to_rgb
from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.harness.drive_observer import DriveObserver
from simple_clip_lstm_ros.harness.node_harness import NodeHarness
from simple_clip_lstm_ros.sim.layout import Cylinder, Layout, Pose
from simple_clip_lstm_ros.sim.plot import InstructionMark, plot_drive
from simple_clip_lstm_ros.sim.world import Outcome

_IDLE = 3.5  # s without an instruction
_TIMEOUT = 10.0  # s until the robot must have moved


class DemoDrive:
    """A drive of a started NodeHarness with a robot in the world `layout`."""

    def __init__(self, harness: NodeHarness, layout: Layout) -> None:
        self._harness = harness
        self._layout = layout
        self._observer = DriveObserver(harness)
        self._marks: list[InstructionMark] = []  # instructions that were sent
        self._seconds = 0.0  # since the first instruction
        self._gif = DriveGif()

    def is_untrained(self) -> bool:
        self._harness.spin_for(2.0, lambda: "untrained" in self._harness.diagnostics)
        return self._harness.diagnostics.get("untrained") == "True"

    def steps(self, instructions: Sequence[str], seconds: float) -> Iterator[tuple[str, dict[str, str]]]:
        """Drive, and yield a title and status row (for `show_live`) each PERIOD.

        The first seconds are without an instruction; then the first instruction is sent, and the others half-way to the
        box. It ends with the drive, after `seconds`, or if the robot has not moved 10 s after the first instruction.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < _IDLE:
            yield "no instruction yet: the command is zero", self._spin()
        self._observer.reset()
        begin, remaining = time.monotonic(), [*instructions]
        while not self._has_ended() and self._seconds < min(seconds, math.inf if self._has_moved() else _TIMEOUT):
            if remaining and (not self._marks or self._layout.is_halfway(self._observer.path[-1])):
                self._marks.append(InstructionMark(remaining.pop(0), len(self._observer.path) - 1))
                self._harness.set_instruction(self._marks[-1].instruction)
            yield f'instruction: "{self._marks[-1].instruction}"', self._spin()
            self._seconds = time.monotonic() - begin

    def _spin(self) -> dict[str, str]:
        self._harness.spin_for(PERIOD, self._has_ended)
        path = self._observer.path
        row = status_row(self._harness, path[-1] if path else None, self._layout.cup)
        if self._harness.image is not None and path:
            text = self._marks[-1].instruction if self._marks else "no instruction"
            lines = (text, f"{self._seconds:4.1f} s   {row['command']}   {row['reason']}")
            self._gif.add_frame(to_rgb(self._harness.image), lines, len(path) if self._marks else 1)
        return row

    def _has_ended(self) -> bool:
        outcome = self._observer.outcome
        return bool(self._marks) and outcome is not None and outcome.ended

    def _has_moved(self) -> bool:
        return self._observer.path[-1] != self._observer.path[0]

    def write_results(self, folder: Path) -> str:
        """Write the map and the GIF; return what the robot did. Raise SimpleClipLstmError if it did not move."""
        if not self._has_moved():
            raise SimpleClipLstmError(f"the robot did not move on the instruction: {self._harness.reason}")
        path, outcome = self._observer.path, self._observer.outcome
        is_success = outcome is not None and outcome.reached and not outcome.contact
        plot_drive(self._layout, path, self._marks, folder / "trajectory.png", good=is_success)
        self._gif.write(folder / "drive.gif", self._layout, path)
        return describe_outcome(outcome, path[-1], self._layout.cup, self._seconds)


def describe_outcome(outcome: Outcome | None, pose: Pose, cup: Cylinder, seconds: float) -> str:
    """Return in words what the robot did within `seconds`, until it was at `pose`."""
    distance = f"{math.hypot(cup.x - pose.x, cup.y - pose.y):.1f} m away"
    side = f", passed on the {outcome.side}" if outcome and outcome.side else ""
    if outcome and outcome.contact:
        return f"touched something after {outcome.time:.1f} s{side}, and the cup was {distance}"
    if outcome and outcome.reached:
        return f"reached the cup in {outcome.time:.1f} s{side}, touched nothing"
    return f"did not reach the cup in {seconds:.0f} s{side}, and was {distance} from it at the end; touched nothing"
