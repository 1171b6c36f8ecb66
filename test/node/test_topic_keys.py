"""Pin the keys of what nodes tell on topics, by services and in files, and the names of those: of one drive."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # where the tests' own modules are
sys.path.insert(0, str(Path(__file__).parents[1]))
from bag import EPOCH, compressed, text, twist, write_bag
from dashboard_bench import free_port
from diagnostic_msgs.msg import DiagnosticArray
from document_keys import check, names, requests
from rcl_interfaces.srv import ListParameters
from rclpy.executors import SingleThreadedExecutor
from ros_domain import LOCAL, own_domain
from std_msgs.msg import String

from simple_clip_lstm_ros.cli import benchmark
from simple_clip_lstm_ros.dashboard.dashboard_node import Dashboard, DashboardParameters
from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics
from simple_clip_lstm_ros.harness import image_loss_probe
from simple_clip_lstm_ros.harness import node_harness as stages
from simple_clip_lstm_ros.harness.bag_player import BagPlayer
from simple_clip_lstm_ros.harness.node_harness import NAMESPACE, NodeHarness
from simple_clip_lstm_ros.harness.photo_camera import PhotoCamera
from simple_clip_lstm_ros.policy.sample_images import sample_crops
from simple_clip_lstm_ros.recording.bag_recorder import BagRecorder
from simple_clip_lstm_ros.recording.episode_recorder import EpisodeRecorder
from simple_clip_lstm_ros.ros.status_publisher import LATCHED

pytestmark = [pytest.mark.ros, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
TEXT = "go around the left side of the box and reach the cup"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeHarness]:
    """Start the robot, the inference node and the guard as processes, and have the robot follow an instruction."""
    with ExitStack() as cleanup:
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        for name, value in (LOCAL | {"ROS_DOMAIN_ID": str(cleanup.enter_context(own_domain()))}).items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        given = {"checkpoint": "builtin:tiny", "device": "cpu"}
        logs = tmp_path_factory.mktemp("logs")
        stage = cleanup.enter_context(NodeHarness(given, robot={}, threads=1, logs=logs))
        stage.start()
        stage.set_instruction(TEXT)
        assert stage.spin_for(20.0, lambda: stage.action is not None), stage.reason
        yield stage


class Beside:
    """Run recorders, dashboard, camera and the player of a bag in this process."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.begun = time.monotonic()
        self.port = free_port()
        self.bags, self.out = folder / "bags", folder / "out"
        self.bags.mkdir()
        topics = DriveTopics("image_raw", "cmd_vel", "instruction")
        self._nodes = [
            PhotoCamera(),
            EpisodeRecorder(folder, topics, rate=None, stamped=False),
            BagRecorder({"folder": str(self.bags), "last": 30.0}, NAMESPACE),
            Dashboard({"port": self.port}, NAMESPACE),
            BagPlayer({"bag": str(bag(folder)), "out": str(self.out)}, NAMESPACE),
        ]
        self._executor = SingleThreadedExecutor()
        for node in self._nodes:
            self._executor.add_node(node)
        self._spinner = threading.Thread(target=self._executor.spin)
        self._spinner.start()
        cleanup.callback(self._close)

    def _close(self) -> None:
        for node in self._nodes:
            node.stop("the tests end")
        self._executor.shutdown()
        self._spinner.join()
        for node in self._nodes:
            node.destroy_node()


def bag(folder: Path) -> Path:
    """Write a bag of a second: an instruction, images and commands."""
    happened = [(0.0, "/instruction", text("go left"))]
    for number, image in enumerate(sample_crops(10)):
        at = number / 10
        happened += [(at, "/image_raw/compressed", compressed(image, EPOCH + at)), (at, "/cmd_vel", twist(0.1))]
    return write_bag(folder / "bag", happened)


@pytest.fixture(scope="module")
def ended() -> list[int]:
    """Return the signals that this process has sent itself, as the player does at its end."""
    return []


@pytest.fixture(scope="module")
def beside(stage: NodeHarness, ended: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Start the nodes of this process, which neither lower its priority nor end it."""
    kill = os.kill
    with ExitStack() as cleanup:
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(os, "nice", lambda _: 0)
        patch.setattr(os, "kill", lambda pid, no: ended.append(no) if pid == os.getpid() else kill(pid, no))
        yield Beside(tmp_path_factory.mktemp("beside"), cleanup)


def test_the_report(stage: NodeHarness) -> None:
    check("inference/report", stage.report())


def test_the_outcome(stage: NodeHarness) -> None:
    told: list[Any] = []
    stage.node.create_subscription(String, "sim_robot/outcome", lambda m: told.append(json.loads(m.data)), LATCHED)
    assert stage.spin_for(10.0, lambda: bool(told))
    check("sim_robot/outcome", *told)


def test_diagnostics(stage: NodeHarness) -> None:
    told: dict[str, dict[str, None]] = {}

    def heard(message: DiagnosticArray) -> None:
        for status in message.status:
            told.setdefault(status.name, {}).update(names(pair.key for pair in status.values))

    stage.node.create_subscription(DiagnosticArray, "/diagnostics", heard, 10)
    stage.spin_for(2.0)
    check("diagnostics", told)


def test_how_images_arrive(stage: NodeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_loss_probe, "_SECONDS", 0.2)
    check("image_loss of a camera", image_loss_probe.measure_camera(f"/{NAMESPACE}/image_raw"))
    check("image_loss", image_loss_probe.measure_loss())


def test_a_benchmark_with_the_node(stage: NodeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the nodes that run already in place of those that it starts."""

    class Standing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> NodeHarness:
            return stage

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(stages, NodeHarness.__name__, Standing)
    monkeypatch.setattr(stage, NodeHarness.start.__name__, lambda: None)
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    check("node of a benchmark", benchmark._benchmark_node(parser.parse_args(["builtin:tiny", "--rounds", "8"])))


def test_the_dashboard(stage: NodeHarness, beside: Beside) -> None:
    told: list[Any] = []

    async def visit() -> None:
        address = f"http://127.0.0.1:{beside.port}/control"
        async with aiohttp.ClientSession() as browser, browser.ws_connect(address) as control:
            for request in requests("dashboard"):
                await control.send_json(request)
                end = time.monotonic() + 0.8
                while (left := end - time.monotonic()) > 0:
                    with contextlib.suppress(asyncio.TimeoutError):
                        told.append(await control.receive_json(timeout=left))

    asyncio.run(visit())
    check("dashboard", *told)


def test_a_bag(stage: NodeHarness, beside: Beside) -> None:
    """Wait for the values of parameters: the recorder asks every two seconds, at first for their names alone."""
    stage.spin_for(beside.begun + 5.0 - time.monotonic())
    stage.call_trigger("recorder/dump")
    (metadata,) = beside.bags.glob("*_asked/metadata.yaml")
    (found,) = yaml.safe_load(metadata.read_text()).values()
    facts = {name: json.loads(value) if value[:1] == "{" else value for name, value in found["custom_data"].items()}
    topics = (each["topic_metadata"] for each in found["topics_with_message_count"])
    check("facts of a bag", facts)
    check("topics of a bag", {each["name"]: names([each["type"]]) for each in topics})


def test_a_replay_of_the_player(stage: NodeHarness, beside: Beside, ended: list[int]) -> None:
    assert stage.spin_for(20.0, lambda: bool(ended))
    check("replay of the player", json.loads((beside.out / "replay.json").read_text()))


def test_topics_services_and_parameters(stage: NodeHarness, beside: Beside) -> None:
    node = stage.node
    stage.spin_for(1.0)  # until all nodes know each other
    found = {}
    own = (node.get_name(), "doctor")  # nobody spins the doctor's
    for name, space in node.get_node_names_and_namespaces():
        if name.startswith(own):
            continue
        full = f"{space.rstrip('/')}/{name}"
        parameters = stage.call_service(
            ListParameters, f"{full}/list_parameters", ListParameters.Request()
        ).result.names
        found[full] = {
            "publishes": dict(node.get_publisher_names_and_types_by_node(name, space)),
            "hears": dict(node.get_subscriber_names_and_types_by_node(name, space)),
            "serves": dict(node.get_service_names_and_types_by_node(name, space)),
            "has": {"parameters": names(parameters)},
        }
        for topics in found[full].values():
            topics.update({topic: names(types) for topic, types in topics.items() if isinstance(types, list)})
    check("nodes", found)
    # What the dashboard answers are not its own parameters.
    check("parameters of the dashboard", names(item.name for item in fields(DashboardParameters)))
