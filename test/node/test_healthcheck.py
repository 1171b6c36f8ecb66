"""A container is well while its node's diagnostics say so: a living process is not enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from dashboard_bench import spun
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from process_groups import kill_group
from ros_domain import LOCAL, own_domain

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with own_domain() as domain:
        for name, value in (LOCAL | {"ROS_DOMAIN_ID": str(domain), "PYTHONPATH": str(ROOT)}).items():
            monkeypatch.setenv(name, value)
        yield domain


def health(*words: str) -> tuple[int, str]:
    """Exit code, and what it says."""
    command = ["timeout", "-s", "KILL", "30", sys.executable, "-m", "simple_clip_lstm_ros.ros.healthcheck", *words]
    ran = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    return ran.returncode, (ran.stdout + ran.stderr).strip()


def test_a_node_is_well_until_it_hangs(domain: int) -> None:
    words = ["-m", "simple_clip_lstm_ros.node.velocity_guard", "--ros-args", "-r", "__ns:=/r1"]
    guard = subprocess.Popen(["timeout", "-s", "KILL", "90", sys.executable, *words], start_new_session=True)
    try:
        code, told = health("velocity_guard", "--namespace", "r1")
        assert code == 0 and told.startswith("NO_COMMAND: "), told
        assert health("velocity_guard", "--namespace", "r2")[0] == 1
        (process,) = psutil.Process(guard.pid).children()
        process.send_signal(signal.SIGSTOP)
        assert health("velocity_guard", "--namespace", "r1") == (
            1,
            "unhealthy: r1/velocity_guard has published no diagnostics for 8 s",
        )
    finally:
        kill_group(guard)


@pytest.mark.parametrize(
    "level, code", [(DiagnosticStatus.WARN, 0), (DiagnosticStatus.STALE, 0), (DiagnosticStatus.ERROR, 1)]
)
def test_a_node_that_tells_of_an_error_is_not_well(domain: int, level: bytes, code: int) -> None:
    with ExitStack() as cleanup:
        node = spun(cleanup, "puppet", "", domain)
        publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        status = DiagnosticStatus(level=level, name="inference: inference", message="STEP_ERROR: of all things")
        node.create_timer(0.2, lambda: publisher.publish(DiagnosticArray(status=[status])))
        assert health() == (code, f"{'unhealthy: ' if code else ''}STEP_ERROR: of all things")
