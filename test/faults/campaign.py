"""Inject faults into a robot that moves at full speed, at random moments, and judge what its base was told."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field

from faults import Fault
from robot import Record, Robot

LIMITS = (0.3, 0.3, 0.8)
STALL = 0.05  # s; when the campaign itself was kept waiting for longer, a run says nothing about the robot
_REPEATS = 10  # of a run, before a machine is called too busy for it
_MAY_MOVE = {"inference": {"MOVING", "STOPPING"}, "velocity_guard": {"FORWARDING"}}
# A reason is told after its command, and both are heard in either order.
_SLACK = 0.1


@dataclass
class Result:
    """Of one fault. `times` are seconds from the fault until what it `ends` in; `problems` should be empty."""

    fault: Fault
    times: list[float] = field(default_factory=list)
    repeated: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.times, default=math.nan)

    @property
    def is_fine(self) -> bool:
        return not self.problems and self.worst <= self.fault.limit


def run(robot: Robot, fault: Fault, runs: int) -> Result:
    """`runs` times, each once more for as long as the campaign itself stalls."""
    result = Result(fault)
    for _ in range(runs):
        for _ in range(_REPEATS):
            seconds, problems = _once(robot, fault)
            if seconds is not None:
                break
            result.repeated += 1
            result.problems += problems
        else:
            problems = [*problems, f"the machine is too busy: stalls above {STALL} s in {_REPEATS} runs on end"]
        result.times += [] if seconds is None else [seconds]
        result.problems += problems
    return result


def _once(robot: Robot, fault: Fault) -> tuple[float | None, list[str]]:
    """Seconds, or None if the campaign stalled; and what was not as it should be."""
    robot.get_going()
    robot.forget()
    time.sleep(random.uniform(0.1, 0.5))
    moment = fault.inject(robot)
    if fault.ends == "warning":
        is_warned = robot.happens(lambda: robot.is_warned_of_a_frozen_camera, fault.limit + 1.0)
        seconds = time.monotonic() - moment if is_warned else math.inf
    else:
        time.sleep(max(0.0, moment + fault.limit - time.monotonic()) + fault.watch)
        seconds = _seconds(robot, fault, moment)
    stall = robot.stall(moment, min(time.monotonic(), moment + fault.limit + 0.1))
    problems = _excesses(robot) + _problems(robot, fault, moment, seconds, stall if stall > STALL else 0.0)
    fault.heal(robot)
    return None if stall > STALL else seconds, problems


def _seconds(robot: Robot, fault: Fault, moment: float) -> float:
    """From the moment to the first zero after which nothing moves, 0 if it stood already; or to the last command."""
    before = [any(axes) for at, axes in robot.commands if at <= moment]
    after = [(at - moment, any(axes)) for at, axes in robot.commands if at > moment]
    if fault.ends == "silence":
        return max((at for at, _ in after), default=0.0)
    if fault.ends == "zero":
        moved = [at for at, moves in after if moves]
        if not moved and before and not before[-1]:
            return 0.0
        after = [(at, moves) for at, moves in after if not moved or at > moved[-1]]
    return next((at for at, moves in after if not moves), math.inf)


def _excesses(robot: Robot) -> list[str]:
    """What no stall of the campaign excuses."""
    fine = [
        all(math.isfinite(v) and abs(v) <= most for v, most in zip(axes, LIMITS, strict=True))
        for _, axes in robot.commands
    ]
    return [f"commanded {axes}" for (_, axes), is_fine in zip(robot.commands, fine, strict=True) if not is_fine]


def _problems(robot: Robot, fault: Fault, moment: float, seconds: float, stall: float) -> list[str]:
    """A stall of the campaign excuses no more than its own length."""
    problems = []
    for at, axes in robot.commands:
        if any(axes) and not _may_move(robot, at, _SLACK + stall):
            reasons = [(round(told - moment, 3), text) for told, text in robot.reasons["velocity_guard"]]
            problems.append(f"moved {at - moment:+.3f} s from the fault, by the reasons {reasons}")
    told = {
        f"{who}: {text.partition(':')[0]}"
        for who, record in robot.reasons.items()
        for at, text in record
        if at > moment
    }
    if fault.reasons and not told & set(fault.reasons):
        problems.append(f"gave the reasons {sorted(told)} and none of {fault.reasons}")
    if fault.ends == "warning" and not robot.speed > 0.0:
        problems.append("stands for a mere warning")
    if seconds > fault.limit + stall:
        problems.append(f"took {seconds:.3f} s")
    return problems


def _may_move(robot: Robot, at: float, slack: float) -> bool:
    """Whether the guard forwarded at that time, and the node had a reason to move."""
    return all(
        any(text.partition(":")[0] in reasons for text in _told_about(robot.reasons[name], at, slack))
        for name, reasons in _MAY_MOVE.items()
    )


def _told_about(record: Record, at: float, slack: float) -> list[str]:
    """The reasons in force at some time in the slack around it."""
    known = [text for told, text in record if told <= at + slack]
    over = [text for told, text in record if told <= at - slack][:-1]
    return known[len(over) :]
