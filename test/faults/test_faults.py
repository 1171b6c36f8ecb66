"""The fault campaign in short: every fault once. `python test/faults/run.py` is the whole one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from campaign import run
from faults import FAULTS, Fault
from processes import NoGroup
from robot import Robot
from soak import Rate, drive, growth, rate_while_reset

pytestmark = [pytest.mark.ros, pytest.mark.slow]
TRIES = 3  # of what is timed: others share this machine


@pytest.fixture(scope="module")
def robot_by(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], Robot]]:
    """The robot that goes by simulated time, or by real; never both at once: they would fight over the processor."""
    with ExitStack() as present:
        robots: dict[bool, Robot] = {}

        def robot_by(sim_time: bool) -> Robot:
            if sim_time not in robots:
                robots.clear()
                present.close()
                folder = tmp_path_factory.mktemp("robot")
                robots[sim_time] = present.enter_context(Robot(folder, tiny, lifetime=900, sim_time=sim_time))
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


def test_a_drive_holds_on_to_nothing(robot_by: Callable[[bool], Robot]) -> None:
    robot = robot_by(False)
    robot.get_going()
    samples, _ = drive(robot, 20.0)
    for process in ("inference", "guard"):
        size, threads, descriptors = growth(samples, process)
        assert size < 5.0 and threads <= 0 and descriptors <= 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_robot_stands_in_time(robot_by: Callable[[bool], Robot], fault: Fault) -> None:
    try:
        result = run(robot_by(fault.sim_time), fault, 1)
    except NoGroup as error:
        pytest.skip(str(error))
    assert result.is_fine, (result.times, result.problems)
