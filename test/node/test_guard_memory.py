"""The guard's memory above a process with one node and the same kinds of publishers."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest
from ros_domain import LOCAL, own_domain

pytestmark = pytest.mark.ros

REFERENCE = """
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from std_msgs.msg import String

rclpy.init()
node = rclpy.create_node("reference")
publishers = [node.create_publisher(kind, kind.__name__.lower(), 1) for kind in (Twist, String, DiagnosticArray)]
rclpy.spin(node)
"""


def unshared_memory(*arguments: str) -> float:
    """Return the unshared memory (USS) in MB of a Python process after 6 s, when a node has long started."""
    with own_domain() as domain:
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
        command = ["timeout", "-s", "KILL", "60", sys.executable, *arguments]
        with subprocess.Popen(command, env=environment) as timeout:
            time.sleep(6.0)
            (process,) = psutil.Process(timeout.pid).children()
            memory = process.memory_full_info().uss / 1e6
            process.kill()
    return memory


def test_the_guard_takes_at_most_3_mb_above_a_plain_node():
    reference = unshared_memory("-c", REFERENCE)
    guard = unshared_memory("-m", "simple_clip_lstm_ros.node.velocity_guard")
    print(f"reference {reference:.1f} MB, guard {guard:.1f} MB")
    assert 0.0 < guard - reference <= 3.0
