"""The software e-stop: zero before the answer, and nothing but `true` ends it."""

from __future__ import annotations

import time

import pytest
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros


def disable_while_moving(bench):
    bench.drive()
    bench.enable(False)
    bench.stop()
    bench.until_reason("DISABLED")


def stays_disabled(bench):
    """Images go on; a next image, a next action and a next command must not move it."""
    bench.commands.clear()
    bench.until(lambda: len(bench.commands) > 10, "commands")
    return not bench.has_moved() and bench.reason.startswith("DISABLED:")


def test_disabling_does_not_wait_for_the_next_command(bench):
    bench.activate(command_rate=0.5, image_timeout=5.0, command_timeout=5.0)
    bench.camera = bench.photograph
    bench.instruct("go to the cup")

    def check():
        bench.enable(True)
        bench.commands.clear()
        bench.until(lambda: bench.commands and bench.is_moving(), "a command", 20.0)
        bench.enable(False)  # the next command that is due is two seconds away
        answered = time.monotonic()
        bench.until(lambda: not bench.is_moving(), "a zero")
        assert bench.commands[-1][0] < answered + 0.05

    bench.timed(check)


def test_a_disabled_robot_moves_again_when_enabled(bench):
    disable_while_moving(bench)
    assert stays_disabled(bench)
    bench.enable(True)
    bench.until_reason("MOVING")
    bench.until(bench.is_moving, "motion")


def test_disabled_survives_a_new_instruction(bench):
    disable_while_moving(bench)
    bench.told("go to the door")
    assert stays_disabled(bench)


def test_disabled_survives_a_reset(bench):
    disable_while_moving(bench)
    assert bench.call("reset", Trigger.Request()).success
    assert stays_disabled(bench)


def test_disabled_survives_another_activation(bench):
    disable_while_moving(bench)
    assert bench.transition("deactivate")
    assert bench.transition("activate")
    bench.instruct("go to the cup")
    assert stays_disabled(bench)


def test_disabled_survives_another_configuration(bench):
    disable_while_moving(bench)
    assert bench.transition("deactivate") and bench.transition("cleanup")
    bench.activate(instruction="go to the cup")
    assert stays_disabled(bench)


def test_a_node_disabled_before_it_is_configured_does_not_move(bench):
    bench.enable(False)
    bench.camera = bench.photograph
    bench.activate(instruction="go to the cup")
    assert stays_disabled(bench)
