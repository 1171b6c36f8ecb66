"""Run each fault once, a few of them in the everyday loop. `python test/faults/run.py` runs the whole campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from campaign import run
from faults import FAULTS, Fault
from processes import NoGroup
from robot import Robot
from soak import Rate, drive, growth, rate_while_reset
from warm_python import WarmPython

pytestmark = [pytest.mark.ros, pytest.mark.serial]
TRIES = 3  # of what is timed: others share this machine
# One of each kind: a process that dies, an input that ends, an output that is no number, a person who stops it.
EVERYDAY = {"camera: SIGKILL", "action: NaN", "velocity_guard/enable: false", "inference: SIGKILL"}


@pytest.fixture(scope="module")
def robot_by(
    tiny: Path, warm_python: WarmPython, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[bool], Robot]]:
    """The robot that goes by simulated time, or by real; never both at once: they would fight over the processor."""
    with ExitStack() as present:
        robots: dict[bool, Robot] = {}

        def robot_by(sim_time: bool) -> Robot:
            if sim_time not in robots:
                robots.clear()
                present.close()
                folder = tmp_path_factory.mktemp("robot")
                started = Robot(warm_python, folder, tiny, lifetime=900, sim_time=sim_time)
                robots[sim_time] = present.enter_context(started)
            return robots[sim_time]

        yield robot_by


def test_commands_come_evenly_while_it_steps_and_is_reset(robot_by: Callable[[bool], Robot]) -> None:
    robot = robot_by(False)
    robot.get_going()
    rates: list[Rate] = []
    while len(rates) < TRIES and not any(_is_even(rate) for rate in rates):
        rates.append(rate_while_reset(robot, 10.0))
    assert _is_even(rates[-1]), rates


def _is_even(rate: Rate) -> bool:
    """What a machine that others use as well can show; soak.py asks for 99 %."""
    return abs(rate.hz - 20.0) < 0.4 and rate.on_time > 0.95


@pytest.mark.full
def test_a_drive_holds_on_to_nothing(robot_by: Callable[[bool], Robot]) -> None:
    robot = robot_by(False)
    robot.get_going()
    samples, _ = drive(robot, 20.0)
    for process in ("inference", "guard"):
        size, threads, descriptors = growth(samples, process)
        assert size < 5.0 and threads <= 0 and descriptors <= 0


def test_the_everyday_faults_are_among_all() -> None:
    assert {fault.name for fault in FAULTS} > EVERYDAY


def as_parameter(fault: Fault) -> Any:
    return pytest.param(fault, id=fault.name, marks=() if fault.name in EVERYDAY else pytest.mark.full)


@pytest.mark.parametrize("fault", [as_parameter(fault) for fault in FAULTS])
def test_the_robot_stands_in_time(robot_by: Callable[[bool], Robot], fault: Fault) -> None:
    try:
        result = run(robot_by(fault.sim_time), fault, 1)
    except NoGroup as error:
        pytest.skip(str(error))
    assert result.is_fine, (result.times, result.problems)
