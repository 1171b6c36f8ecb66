"""How the process ends: by SIGINT or SIGTERM in whatever state, with a last zero, exit code 0, and soon."""

from __future__ import annotations

import signal
import time
from signal import SIGINT, SIGTERM

import pytest
from lifecycle_msgs.srv import ChangeState

pytestmark = pytest.mark.ros


@pytest.fixture
def fresh(start):
    """Starts a node for this test alone."""
    benches = []

    def fresh(**options):
        benches.append(start(**options))
        return benches[-1]

    yield fresh
    for bench in benches:
        bench.close()


def ends_well(bench, *numbers):
    begin = time.monotonic()
    assert bench.process.end(*numbers) == 0
    assert time.monotonic() - begin < 5.0
    assert "Traceback" not in bench.process.log


@pytest.mark.parametrize(
    "numbers", [(SIGINT,), (SIGTERM,), (SIGINT, SIGINT), (SIGTERM, SIGTERM)], ids=lambda n: "+".join(s.name for s in n)
)
def test_a_moving_robot_is_told_zero_before_the_node_ends(fresh, numbers):
    bench = fresh()
    bench.drive()
    bench.until(bench.is_moving, "motion")
    ends_well(bench, *numbers)
    bench.happens(lambda: not bench.is_moving(), 1.0)  # the last message may still be on its way
    assert not bench.is_moving() and bench.has_moved()


def test_a_load_under_way_gives_up(fresh, deep):
    bench = fresh(parameters=deep)
    bench.until(bench.clients["change_state"].service_is_ready, "the node", 60.0)
    request = ChangeState.Request()
    request.transition.id = 1
    bench.clients["change_state"].call_async(request)
    bench.until(lambda: "loading" in bench.process.log, "the load")
    ends_well(bench, signal.SIGTERM)
    assert "untrained" not in bench.process.log, "told once all is loaded"


def test_a_node_that_could_not_be_configured_ends_well(fresh):
    bench = fresh(parameters={"checkpoint": "/nowhere/model.pth"})
    assert not bench.transition("configure")
    ends_well(bench, SIGTERM)


def test_the_shutdown_transition_tells_a_moving_robot_zero(fresh):
    bench = fresh()
    bench.drive()
    bench.until(bench.is_moving, "motion")
    assert bench.transition("shutdown") and bench.state == "finalized"
    bench.until(lambda: not bench.is_moving(), "a zero")
    ends_well(bench, SIGINT)
