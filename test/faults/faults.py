"""What can go wrong, how to make it so, and by when the robot must then stand: one Fault each.

Limits are the timeouts of docs/safety.md at their defaults, plus 0.1 s for everything that stops at once.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lifecycle_msgs.srv import ChangeState
from robot import TRANSITIONS, Robot, parameters
from std_srvs.srv import SetBool

MARGIN = 0.1
IMAGE_TIMEOUT, COMMAND_TIMEOUT, GUARD_TIMEOUT = 0.5, 0.5, 0.3
# From full speed, 0.3 m/s and 0.8 rad/s, within max_decel and up to the end of the command's period.
RAMP = max(0.3 / 1.5, 0.8 / 3.0) + 0.05
# A clock is seen by its next message and judged at the next tick, or after the timeout's number of them.
CLOCK = 0.02 + 0.05
_DISCOVERY = 4.0  # s; the guard may take that long to find a new process, which it then must hold
FROZEN_WARNING = 2.0 + 0.5  # s; until the warning, and the period of diagnostics


@dataclass(frozen=True)
class Fault:
    """`inject` makes it so and returns the moment, by time.monotonic(); `limit` is counted from it.

    `reasons` are those of which one must then be given, by the node or the guard. `ends` says what must have come:
    `zero` (and nothing else after it), `blink` (a zero; then it may go on by new data), `silence` (no command at all)
    or `warning` (diagnostics warn, the robot goes on).
    """

    name: str
    inject: Callable[[Robot], float]
    limit: float
    reasons: tuple[str, ...]
    ends: str = "zero"
    watch: float = 0.4
    heal: Callable[[Robot], None] = lambda robot: None
    sim_time: bool = False


def signalled(who: str, number: signal.Signals) -> Callable[[Robot], float]:
    def inject(robot: Robot) -> float:
        moment = time.monotonic()
        robot.processes.send(who, number)
        return moment

    return inject


def continued(who: str) -> Callable[[Robot], None]:
    return lambda robot: robot.processes.send(who, signal.SIGCONT)


def ended(who: str) -> Callable[[Robot], None]:
    """What has been asked to end in order must do so with 0."""
    return lambda robot: _check(robot.processes.wait(who) == 0, f"{who} ended badly")


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def camera(state: str) -> Callable[[Robot], float]:
    return lambda robot: robot.camera.set(state)


def step(state: str) -> Callable[[Robot], float]:
    def inject(robot: Robot) -> float:
        robot.inference.set(state)
        return robot.inference.wait(5.0)

    return inject


def disabled(who: str) -> Callable[[Robot], float]:
    def inject(robot: Robot) -> float:
        moment = time.monotonic()
        robot.send(f"{who}/enable", SetBool.Request(data=False))
        return moment

    return inject


def cleared(robot: Robot) -> float:
    moment = time.monotonic()
    robot.say("")
    return moment


def deactivated_during_a_step(robot: Robot) -> float:
    robot.inference.set("sleep 0.2")
    robot.inference.wait(5.0)
    moment = time.monotonic()
    robot.inference.set("")
    _check(robot.transition("deactivate"), "deactivate failed")
    return moment


def _drive_on(robot: Robot) -> None:
    """With another process, which is told at once to do what the one before did."""
    robot.start_inference()
    _check(robot.state() == "unconfigured", "it is not another process")
    _check(robot.transition("configure") and robot.transition("activate"), "it does not start again")
    robot.until(lambda: robot.reason("inference") == "MOVING" and any(robot.raw[-1][1]), "motion that is held", 20.0)


def restarted_with_a_latched_instruction(robot: Robot) -> float:
    moment = time.monotonic()
    robot.processes.kill("inference")
    _drive_on(robot)
    return moment


def restarted_after_the_stop_was_lifted(robot: Robot) -> float:
    """The stop is pressed, the process dies, the stop is lifted, and then another process comes."""
    robot.call("velocity_guard/enable", SetBool.Request(data=False))
    moment = time.monotonic()
    robot.processes.kill("inference")
    robot.call("velocity_guard/enable", SetBool.Request(data=True))
    _drive_on(robot)
    return moment


def ended_while_it_activates(robot: Robot) -> float:
    """SIGTERM at any moment of an activation, with the instruction latched."""
    _check(robot.transition("deactivate"), "deactivate failed")
    request = ChangeState.Request()
    request.transition.id = TRANSITIONS["activate"]
    robot.send("inference/change_state", request)
    time.sleep(random.uniform(0.0, 0.3))
    moment = time.monotonic()
    robot.processes.send("inference", signal.SIGTERM)
    return moment


def guard_asleep_while_its_source_hangs(robot: Robot) -> float:
    """Commands wait for a guard that sleeps; when it wakes, they are of another time."""
    moment = time.monotonic()
    robot.processes.send("guard", signal.SIGSTOP)
    time.sleep(0.4)
    robot.processes.send("inference", signal.SIGSTOP)
    time.sleep(0.4)
    robot.processes.send("guard", signal.SIGCONT)
    return moment


@contextmanager
def _flood(robot: Robot) -> Iterator[float]:
    command = [sys.executable, str(Path(__file__).parent / "instruction_flood.py"), str(robot.processes.folder)]
    with subprocess.Popen(["timeout", "-s", "KILL", "20", *command], env=robot.processes.environment) as flood:
        begun = robot.processes.folder / "flood"
        robot.until(begun.exists, "the flood", 15.0)
        yield float(begun.read_text())
        flood.terminate()
    begun.unlink()


def flooded_with_instructions(robot: Robot) -> float:
    with _flood(robot) as moment:
        time.sleep(RAMP + MARGIN + 0.5)
    return moment


def parameters_at_100_hz(robot: Robot) -> float:
    """Limits up and down for a second, whether they were answered yet or not, and at last to zero."""
    fast, slow = [0.3, 0.3, 0.8], [0.1, 0.1, 0.3]
    begin = time.monotonic()
    futures = []
    for count in range(100):
        request = parameters(max_velocity=slow if count % 2 else fast)
        futures.append(robot.send("inference/set_parameters", request))
        time.sleep(max(0.0, begin + 0.01 * (count + 1) - time.monotonic()))
    robot.until(lambda: all(future.done() for future in futures), "an answer to each change", 5.0)
    _check(all(future.result().results[-1].successful for future in futures), "a change was refused")
    time.sleep(0.15)  # a command that was under way
    _check(robot.speed <= 0.3, f"moves at {robot.speed} and not within the new limits")
    moment = time.monotonic()
    robot.set_parameters(max_velocity=[0.0, 0.0, 0.0])
    return moment


def parameters_back(robot: Robot) -> None:
    robot.set_parameters(max_velocity=[0.3, 0.3, 0.8])


def clock_jump(seconds: float) -> Callable[[Robot], float]:
    """No image comes after it, so that all that could move the robot is older than the jump."""

    def inject(robot: Robot) -> float:
        robot.camera.set("off")
        time.sleep(0.06)  # the image that is on its way
        moment = time.monotonic()
        robot.clock_offset += seconds
        return moment

    return inject


def clock_stop(robot: Robot) -> float:
    """A simulator that dies takes its camera and its clock along."""
    moment = robot.camera.set("off")
    robot.stop_clock()
    return moment


def clock_again(robot: Robot) -> None:
    robot.start_clock()


def out_of_memory(robot: Robot) -> float:
    """The process grows with each step until the kernel kills it; the moment is that of its last command."""
    robot.processes.confine("inference", spare=150_000_000)
    robot.inference.set("grow 20000000")
    robot.until(lambda: not robot.processes.is_alive("inference"), "the kernel's kill", 30.0)
    return robot.raw[-1][0]


AT_ONCE = MARGIN
FAULTS = [
    Fault(
        "inference: SIGKILL",
        signalled("inference", signal.SIGKILL),
        GUARD_TIMEOUT + MARGIN,
        ("velocity_guard: COMMAND_STALE",),
    ),
    Fault(
        "inference: SIGSTOP",
        signalled("inference", signal.SIGSTOP),
        GUARD_TIMEOUT + MARGIN,
        ("velocity_guard: COMMAND_STALE",),
        heal=continued("inference"),
    ),
    *[
        Fault(
            f"inference: {number.name}",
            signalled("inference", number),
            AT_ONCE,
            ("inference: INACTIVE",),
            heal=ended("inference"),
        )
        for number in (signal.SIGINT, signal.SIGTERM)
    ],
    Fault(
        "inference: restarted, instruction latched",
        restarted_with_a_latched_instruction,
        GUARD_TIMEOUT + MARGIN,
        ("velocity_guard: HELD",),
        watch=_DISCOVERY,
    ),
    Fault(
        "inference: killed while stopped, restarted after",
        restarted_after_the_stop_was_lifted,
        AT_ONCE,
        ("velocity_guard: HELD",),
        watch=_DISCOVERY,
    ),
    Fault(
        "inference: SIGTERM while it activates",
        ended_while_it_activates,
        AT_ONCE + 0.05,
        (),
        heal=ended("inference"),
    ),
    Fault(
        "guard: SIGTERM", signalled("guard", signal.SIGTERM), AT_ONCE, ("velocity_guard: ENDED",), heal=ended("guard")
    ),
    Fault("guard: SIGKILL", signalled("guard", signal.SIGKILL), AT_ONCE, (), ends="silence"),
    Fault(
        "guard: SIGSTOP",
        signalled("guard", signal.SIGSTOP),
        AT_ONCE,
        (),
        ends="silence",
        heal=continued("guard"),
    ),
    Fault(
        "guard: SIGSTOP, then the inference's, then SIGCONT",
        guard_asleep_while_its_source_hangs,
        0.8 + MARGIN,
        ("velocity_guard: COMMAND_STALE",),
        heal=continued("inference"),
    ),
    Fault("camera: SIGKILL", signalled("camera", signal.SIGKILL), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)),
    Fault("camera: same stamp", camera("same-stamp"), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)),
    Fault("camera: same picture", camera("same-picture"), FROZEN_WARNING + MARGIN, (), ends="warning"),
    Fault("camera: 0.5 Hz", camera("every 2.0"), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)),
    Fault("images of the future", camera("ahead 5.0"), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)),
    Fault("images of the past", camera("ahead -5.0"), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)),
    Fault(
        "images: 200 malformed a second", camera("malformed 10"), IMAGE_TIMEOUT + MARGIN, ("inference: IMAGE_STALE",)
    ),
    Fault("step: takes 5 s", step("sleep 5.0"), COMMAND_TIMEOUT + MARGIN, ("inference: COMMAND_STALE",)),
    Fault("step: raises", step("raise"), AT_ONCE, ("inference: STEP_ERROR",)),
    Fault("action: NaN", step("value nan"), AT_ONCE, ("inference: NON_FINITE",)),
    Fault("action: infinite", step("value inf"), AT_ONCE, ("inference: NON_FINITE",)),
    Fault("instruction: cleared", cleared, RAMP + MARGIN, ("inference: NO_INSTRUCTION",)),
    Fault(
        "instruction: others at 1 kHz",
        flooded_with_instructions,
        RAMP + MARGIN,
        ("inference: STOPPING", "inference: NO_ACTION"),
        ends="blink",
    ),
    Fault("inference/enable: false", disabled("inference"), AT_ONCE, ("inference: DISABLED",)),
    Fault("velocity_guard/enable: false", disabled("velocity_guard"), AT_ONCE, ("velocity_guard: DISABLED",)),
    Fault("deactivate during a step", deactivated_during_a_step, AT_ONCE, ("inference: INACTIVE",)),
    Fault("parameters at 100 Hz", parameters_at_100_hz, AT_ONCE, (), heal=parameters_back),
    Fault("memory: the kernel kills it", out_of_memory, GUARD_TIMEOUT + MARGIN, ("velocity_guard: COMMAND_STALE",)),
    *[
        Fault(
            f"clock: {seconds:+.0f} s", clock_jump(seconds), CLOCK + MARGIN, ("inference: IMAGE_STALE",), sim_time=True
        )
        for seconds in (3600.0, -3600.0)
    ],
    Fault(
        "clock: stops",
        clock_stop,
        IMAGE_TIMEOUT + CLOCK + MARGIN,
        ("inference: CLOCK_STOPPED",),
        sim_time=True,
        heal=clock_again,
    ),
]
