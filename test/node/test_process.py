"""A node as a process, when something goes wrong that nobody has thought of: it ends, in order and with a word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ros_domain import LOCAL, own_domain

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]
NODE = """
import threading
from rclpy.node import Node
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.ros import process

class Frail(Node):
    def __init__(self):
        super().__init__("frail")
        {start}

    def fail(self):
        raise ValueError("of all things")

    def stop(self, why):
        print("stopped:", why, flush=True)

process.run(Frail)
"""


def run(start):
    code = NODE.format(start=start)
    with own_domain() as domain:
        return subprocess.run(
            ["timeout", "-s", "KILL", "30", sys.executable, "-c", code],
            env=os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )


def test_a_callback_that_raises_ends_it_with_the_reason():
    ended = run("self.create_timer(0.01, self.fail)")
    assert (ended.returncode, ended.stdout) == (1, "stopped: ValueError: of all things\n")
    assert "ValueError: of all things" in ended.stderr and "Traceback" in ended.stderr


def test_an_error_of_ros_itself_is_no_exception():
    """A guard whose graph cannot be asked must not live on in silence."""
    rcl = "from rclpy.impl.implementation_singleton import rclpy_implementation as r; raise r.RCLError('of ROS')"
    ended = run(f'self.create_timer(0.01, lambda: exec("{rcl}"))')
    assert (ended.returncode, ended.stdout) == (1, "stopped: RCLError: of ROS\n")


def test_a_thread_that_dies_ends_it_with_the_reason():
    ended = run("threading.Thread(target=self.fail).start()")
    assert (ended.returncode, ended.stdout) == (1, "stopped: ValueError: of all things\n")


def test_a_parameter_that_is_not_allowed_is_one_line():
    ended = run('raise ConfigError("guard_timeout must be positive")')
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "error: guard_timeout must be positive\n")


@pytest.mark.slow
def test_an_end_that_hangs_is_cut_short_and_tells_where():
    ended = run("self.destroy_node = threading.Event().wait; self.create_timer(0.01, self.fail)")
    assert (ended.returncode, ended.stdout) == (1, "stopped: ValueError: of all things\n")
    dump = ended.stderr.partition("Timeout (0:00:08)!")[2]
    assert " in run" in dump and " in wait" in dump
