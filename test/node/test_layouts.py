"""The Foxglove layout and the rviz configuration name what the real nodes have."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_domain import LOCAL, own_domain
from transitions import bring_up
from warm_python import WarmPython

pytest.importorskip("rosbags")  # the recorder's service is among them

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path

pytestmark = pytest.mark.ros
CONFIG = Path(__file__).parents[2] / "config"
PANELS = json.loads((CONFIG / "foxglove.json").read_text())
PACKAGE = "simple_clip_lstm_ros"
SPLITS = ("first", "second")


@pytest.fixture(scope="module")
def graph(
    warm_python: WarmPython, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """Topics and services of all nodes, configured, with their types."""
    folder = tmp_path_factory.mktemp("bags")
    arguments = {
        "node.inference_node": ["-p", f"checkpoint:={resolve_path('builtin:tiny')}", "-r", "cmd_vel:=cmd_vel_raw"],
        "node.velocity_guard": [],
        "harness.photo_camera": [],
        "recording.bag_recorder": ["-p", f"folder:={folder}", "-p", "last:=5.0"],
    }
    with own_domain() as domain:
        environment = os.environ | LOCAL | {"ROS_DOMAIN_ID": str(domain)}
        processes = [
            warm_python.start(
                ["-m", f"{PACKAGE}.{name}", "--ros-args", *more],
                limit=60,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            for name, more in arguments.items()
        ]
        context = Context()
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node("onlooker", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            bring_up(node, executor)
            _wait_for_services(node, executor)
            yield dict(node.get_topic_names_and_types()), dict(node.get_service_names_and_types())
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)
            executor.shutdown()
            node.destroy_node()
            context.shutdown()


def _wait_for_services(node: Any, executor: SingleThreadedExecutor) -> None:
    end = time.monotonic() + 20.0
    wanted = {"/velocity_guard/enable", "/recorder/dump", "/inference/reset"}
    while not wanted <= {name for name, _ in node.get_service_names_and_types()}:
        assert time.monotonic() < end
        executor.spin_once(timeout_sec=0.1)


def named(kind: str, key: str) -> list[Any]:
    return [config[key] for name, config in PANELS["configById"].items() if name.startswith(kind + "!")]


def paths() -> list[str]:
    return [path["value"] for kind in ("Plot", "StateTransitions") for each in named(kind, "paths") for path in each]


def problem_of(path: str, topics: dict[str, list[str]]) -> str:
    """Return what is wrong with a path of a panel, empty where it is a number or a text of a topic."""
    topic, *fields = path.split(".")
    kinds = topics.get(topic, [])
    if len(kinds) != 1:
        return f"{topic} has the types {kinds}"
    package, _, name = kinds[0].split("/")
    value = getattr(importlib.import_module(f"{package}.msg"), name)()
    for field in fields:
        if not hasattr(value, field):
            return f"{type(value).__name__} has no field {field}"
        value = getattr(value, field)
    return "" if isinstance(value, (float, str)) else f"is of type {type(value).__name__}"


def test_each_path_is_a_field_of_a_topic(graph):
    problems = {path: why for path in paths() if (why := problem_of(path, graph[0]))}
    assert paths() and not problems, "\n".join(f"{path}: {why}" for path, why in problems.items())


def test_pictures_are_images(graph):
    for mode in named("Image", "imageMode"):
        assert graph[0][mode["imageTopic"]][0] in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def test_the_instruction_is_what_the_node_listens_to(graph):
    (panel,) = [config for name, config in PANELS["configById"].items() if name.startswith("Publish!")]
    assert graph[0][panel["topicName"]] == [panel["datatype"]]
    assert isinstance(json.loads(panel["value"])["data"], str)


def test_diagnostics_are_those_of_the_nodes(graph):
    for kind in ("DiagnosticSummary", "DiagnosticStatusPanel"):
        (topic,) = named(kind, "topicToRender")
        assert graph[0][topic] == ["diagnostic_msgs/msg/DiagnosticArray"]


def test_buttons_call_services_that_there_are(graph):
    found = {name: config for name, config in PANELS["configById"].items() if name.startswith("CallService!")}
    for config in found.values():
        assert graph[1][config["serviceName"]] == [config["datatype"]]
        assert config["editingMode"] is False and isinstance(json.loads(config["requestPayload"]), dict)
    assert json.loads(found["CallService!stop"]["requestPayload"]) == {"data": False}
    assert json.loads(found["CallService!go"]["requestPayload"]) == {"data": True}


def _placed(layout: Any) -> list[str]:
    if isinstance(layout, str):
        inner = [tab["layout"] for tab in PANELS["configById"][layout].get("tabs", [])]
        return [layout, *(name for each in inner for name in _placed(each))]
    assert layout["direction"] in ("row", "column") and 0 < layout["splitPercentage"] < 100
    return [name for side in SPLITS for name in _placed(layout[side])]


def test_every_panel_has_one_place():
    placed = _placed(PANELS["layout"])
    assert sorted(placed) == sorted(PANELS["configById"])


def test_rviz_shows_images_as_they_are_published(graph):
    displays = yaml.safe_load((CONFIG / "rviz.rviz").read_text())["Visualization Manager"]["Displays"]
    assert len(displays) == 2
    for display in displays:
        assert display["Class"] == "rviz_default_plugins/Image"
        assert graph[0][display["Topic"]["Value"]] == ["sensor_msgs/msg/Image"]
    # A reliable subscription hears nothing of a best-effort camera.
    assert displays[1]["Topic"]["Reliability Policy"] == "Best Effort"
