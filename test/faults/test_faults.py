"""The fault campaign in short: every fault once. `python test/faults/run.py` is the whole one."""

from __future__ import annotations

from collections.abc import Iterator
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
def robots(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Robot]]:
    """By whether they go by simulated time."""
    folders = {sim_time: tmp_path_factory.mktemp("robot") for sim_time in (False, True)}
    with (
        Robot(folders[False], tiny, lifetime=900) as real,
        Robot(folders[True], tiny, lifetime=900, sim_time=True) as sim,
    ):
        yield {False: real, True: sim}


# The first, while no other robot runs beside it.
def test_commands_come_evenly_while_it_steps_and_is_reset(robots: dict[bool, Robot]) -> None:
    robots[False].get_going()
    rates: list[Rate] = []
    while len(rates) < TRIES and not any(_is_even(rate) for rate in rates):
        rates.append(rate_while_reset(robots[False], 10.0))
    assert _is_even(rates[-1]), rates


def _is_even(rate: Rate) -> bool:
    """What a machine that others use as well can show; soak.py asks for 99 %."""
    return abs(rate.hz - 20.0) < 0.4 and rate.on_time > 0.95


def test_a_drive_holds_on_to_nothing(robots: dict[bool, Robot]) -> None:
    robots[False].get_going()
    samples, _ = drive(robots[False], 20.0)
    for process in ("inference", "guard"):
        size, threads, descriptors = growth(samples, process)
        assert size < 5.0 and threads <= 0 and descriptors <= 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_robot_stands_in_time(robots: dict[bool, Robot], fault: Fault) -> None:
    try:
        result = run(robots[fault.sim_time], fault, 1)
    except NoGroup as error:
        pytest.skip(str(error))
    assert result.is_fine, result
