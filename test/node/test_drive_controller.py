"""What the Driver publishes when callbacks come late or nobody listens: a node of stand-ins, so that order is ours."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.logging import get_logger
from sensor_msgs.msg import Image
from std_msgs.msg import String

from simple_clip_lstm_ros.errors import Cancelled
from simple_clip_lstm_ros.node.drive_controller import DriveController
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.policy.policy import Action
from simple_clip_lstm_ros.ros.camera_topic import to_image

NOW = Time(sec=100)
PHOTOGRAPH = np.zeros((48, 64, 3), np.uint8)


class Publisher(list):
    """The messages published."""

    listeners = 0

    def get_subscription_count(self):
        return self.listeners

    publish = list.append

    def wait_for_all_acked(self, _):
        pass


class Node:
    """Keeps callbacks instead of calling them; its clock stands still."""

    def __init__(self):
        self.published = {}
        self.callbacks = {}
        self.executor = SimpleNamespace(create_task=lambda act, *arguments: act(*arguments))
        self.destroy_subscription = self.destroy_publisher = lambda _: None

    def create_publisher(self, kind, topic, _):
        return self.published.setdefault(topic, Publisher())

    def create_subscription(self, kind, topic, callback, _, **__):
        self.callbacks[topic] = callback

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: NOW))

    def get_logger(self):
        return get_logger("stand_in")


class Policy:
    config = SimpleNamespace(untrained=False, action_axes=("linear.x", "angular.z"))

    def step(self, image, instruction, stamp):
        return Action((0.2, 0.1), stamp, 0.01, 1)

    def validate_instruction(self, text):
        return ""

    def reset(self):
        pass


@pytest.fixture
def node(monkeypatch):
    node = Node()

    def keep(period, act, name):
        node.callbacks["tick"] = act
        return SimpleNamespace(stop=lambda: None)

    monkeypatch.setattr("simple_clip_lstm_ros.node.drive_controller.PeriodicThread", keep)
    return node


@pytest.fixture
def driver(node):
    driver = DriveController(node, InferenceParameters(checkpoint="a.pth"), Policy(), on_decision=lambda decision: None)
    driver.activate()
    yield driver
    driver.deactivate()


def move(driver, node):
    node.callbacks["instruction"](String(data="go to the cup"))
    node.callbacks["image_raw"](to_image(PHOTOGRAPH, NOW, "camera"))
    end = time.monotonic() + 5.0
    while not driver.report()["actions"]:
        assert time.monotonic() < end
        time.sleep(0.001)
    node.callbacks["tick"]()
    assert node.published["cmd_vel"][-1].linear.x > 0.0


def test_without_a_listener_no_overlay_is_drawn(driver, node):
    move(driver, node)
    assert node.published["inference/action"] and not node.published["inference/overlay"]


def test_with_a_listener_each_frame_is(driver, node):
    node.published["inference/overlay"].listeners = 1
    move(driver, node)
    driver.deactivate()  # ends the inference thread, so that the overlay is there
    (overlay,) = node.published["inference/overlay"]
    assert isinstance(overlay, Image) and (overlay.width, overlay.height, overlay.header.stamp) == (512, 384, NOW)
    assert any(overlay.data), "text on a black photograph"


def test_a_disabled_driver_publishes_zero_at_once_and_from_then_on(driver, node):
    move(driver, node)
    driver.enable(False)
    node.callbacks["tick"]()
    assert [command.linear.x for command in node.published["cmd_vel"][-2:]] == [0.0, 0.0]


def test_a_tick_that_comes_too_late_follows_no_deactivation(driver, node):
    move(driver, node)
    driver.deactivate()
    commands = list(node.published["cmd_vel"])
    assert commands[-1].linear.x == 0.0
    node.callbacks["tick"]()
    assert node.published["cmd_vel"] == commands


def test_once_released_it_never_commands_again(driver, node):
    """The process ends while an activation is on its way."""
    move(driver, node)
    driver.release("asked to end")
    commands = list(node.published["cmd_vel"])
    assert commands[-1].linear.x == 0.0
    with pytest.raises(Cancelled):
        driver.activate()
    driver.enable(True)
    driver.enable(False)
    assert node.published["cmd_vel"] == commands


def test_an_image_that_comes_too_late_harms_nothing(driver, node):
    move(driver, node)
    driver.deactivate()
    node.callbacks["image_raw"](to_image(PHOTOGRAPH, NOW, "camera"))
    assert node.published["cmd_vel"][-1].linear.x == 0.0
