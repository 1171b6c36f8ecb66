"""config/fastdds.xml: raw images arrive, and processes with and without it hear each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_domain import LOCAL, own_domain
from std_msgs.msg import String
from std_srvs.srv import Trigger

ROOT = Path(__file__).parents[2]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LOSS = 0.05  # the bound; on a busy machine the listener itself may come late for an image
MORE_THAN_ANY_KERNEL_GRANTS = 2**30

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(
        os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp", reason="of Fast DDS only"
    ),
]


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A ROS domain of this test's own, on this machine alone."""
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    with own_domain() as domain:
        yield domain


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/transport.py."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import transport

    for name in transport.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return transport


@pytest.fixture
def greedy(transport: ModuleType, tmp_path: Path) -> Path:
    """The profile with socket buffers that no kernel grants."""
    text, changes = re.subn(r"(?<=BufferSize>)\d+", str(MORE_THAN_ANY_KERNEL_GRANTS), transport.PROFILE.read_text())
    assert changes == 2
    for kind in ("rmem_max", "wmem_max"):
        limit = Path("/proc/sys/net/core") / kind
        if limit.exists():
            assert int(limit.read_text()) < MORE_THAN_ANY_KERNEL_GRANTS
    path = tmp_path / "greedy.xml"
    path.write_text(text)
    return path


@pytest.fixture
def sockets_alone(greedy: Path) -> Path:
    """And without shared memory, as between two containers."""
    text, changes = re.subn(
        r"<userTransports>\s*<transport_id>.*?</transport_id>", "<userTransports>", greedy.read_text()
    )
    assert changes == 1
    path = greedy.with_name("sockets_alone.xml")
    path.write_text(text)
    return path


def loss(transport: ModuleType, domain: int, camera: Path | None, listener: Path | None, tries: int = 2) -> float:
    """The smallest share of lost 720p images in up to so many tries of two seconds."""
    least = 1.0
    for _ in range(tries):
        row = transport.measure("raw 1280x720", 2.0, camera, listener, domain=domain)
        least = min(least, row.loss)
        if least < LOSS:
            break
    return least


@pytest.mark.full
@pytest.mark.serial
def test_raw_images_arrive_with_the_profile_and_fewer_without(transport: ModuleType, domain: int) -> None:
    lost = loss(transport, domain, transport.PROFILE, transport.PROFILE)
    assert lost < LOSS
    lost_without = loss(transport, domain, None, None, tries=1)
    if not lost_without:
        pytest.skip("the default transport loses nothing on this machine: nothing to compare")
    assert lost_without > 2 * lost


@pytest.mark.full
@pytest.mark.serial
def test_it_is_the_cameras_process_that_needs_it(transport: ModuleType, domain: int) -> None:
    assert loss(transport, domain, transport.PROFILE, None) < LOSS


@pytest.mark.full
@pytest.mark.serial
def test_images_arrive_where_the_kernel_grants_smaller_buffers(
    transport: ModuleType, domain: int, greedy: Path
) -> None:
    assert loss(transport, domain, greedy, greedy) < LOSS


@pytest.mark.parametrize(
    "profile",
    ["as it is", pytest.param("greedy", marks=pytest.mark.full), pytest.param("sockets_alone", marks=pytest.mark.full)],
)
def test_processes_with_and_without_hear_each_other(
    transport: ModuleType, domain: int, profile: str, request: pytest.FixtureRequest
) -> None:
    path = transport.PROFILE if profile == "as it is" else request.getfixturevalue(profile)
    with _node(domain) as (node, until):
        heard: dict[str, list[str]] = {"answer": [], "latched_answer": []}
        node.create_subscription(String, "answer", lambda message: heard["answer"].append(message.data), 100)
        ask = node.create_publisher(String, "ask", 100)
        node.create_publisher(String, "latched_ask", LATCHED).publish(String(data="early"))
        with _peer(domain, {variable: str(path) for variable in transport.VARIABLES}):
            until(lambda: ask.publish(String(data="there?")) or "heard there?" in heard["answer"])

            heard["answer"].clear()
            for number in range(50):
                ask.publish(String(data=str(number)))
            expected = [f"heard {number}" for number in range(50)]
            until(lambda: [text for text in heard["answer"] if text != "heard there?"] == expected)

            # Late for what the peer has said once, as the peer was for what was said here.
            node.create_subscription(
                String, "latched_answer", lambda message: heard["latched_answer"].append(message.data), LATCHED
            )
            until(lambda: heard["latched_answer"] == ["heard early"])

            client = node.create_client(Trigger, "serve")
            until(client.service_is_ready)
            future = client.call_async(Trigger.Request())
            until(future.done)
            assert future.result().message == "served"


@contextmanager
def _node(domain: int) -> Iterator[tuple[Node, Callable[[Callable[[], Any]], None]]]:
    """A node of this process, and what spins it until something holds."""
    context = rclpy.Context()
    context.init(domain_id=domain)
    node = rclpy.create_node("without", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def until(holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10.0
        while not holds():
            assert time.monotonic() < deadline, "not heard within ten seconds"
            executor.spin_once(timeout_sec=0.05)

    try:
        yield node, until
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()


@contextmanager
def _peer(domain: int, environment: dict[str, str]) -> Iterator[None]:
    command = ["timeout", "-s", "KILL", "30", sys.executable, __file__]
    # This file once more, as a program: it imports from there.
    path = os.pathsep.join([str(ROOT / "test" / "support"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | environment | {"ROS_DOMAIN_ID": str(domain), "PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        # It ends when its stdin does: if killed, it would leave its segment in /dev/shm.
        process.communicate(timeout=10.0)
    assert process.returncode == 0


def _be_peer() -> None:
    rclpy.init()
    node = rclpy.create_node("with")
    for kind, qos in (("", 100), ("latched_", LATCHED)):
        publisher = node.create_publisher(String, f"{kind}answer", qos)

        def answer(message: String, publisher: Any = publisher) -> None:
            publisher.publish(String(data=f"heard {message.data}"))

        node.create_subscription(String, f"{kind}ask", answer, qos)

    def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, "served"
        return response

    node.create_service(Trigger, "serve", serve)
    over = threading.Event()

    def await_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=await_end, daemon=True).start()
    while not over.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.shutdown()


if __name__ == "__main__":
    _be_peer()
