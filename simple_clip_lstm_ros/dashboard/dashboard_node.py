"""The dashboard node: its parameters, subscriptions and enable clients, and the web server's interface to ROS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.dashboard.robot import (
    CAMERA,
    OVERLAY,
    EnableClient,
    ImageStream,
    NodeStatus,
    RobotState,
    Send,
)
from simple_clip_lstm_ros.dashboard.web_server import WebServer
from simple_clip_lstm_ros.errors import ConfigError, InputError, is_text
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import CameraParameters
from simple_clip_lstm_ros.ros.parameters import ConfiguredNode, Range, parameter
from simple_clip_lstm_ros.ros.qos import LATCHED, NEWEST_IMAGE
from simple_clip_lstm_ros.ros.remote_parameters import RemoteParameters, ServicePoller

_MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class DashboardParameters(CameraParameters):
    """The parameters of this node. Raises ConfigError if a value is invalid."""

    host: str = parameter("127.0.0.1", "address to listen on; anything but this machine's own asks for a token")
    port: int = parameter(8088, "of the page", within=Range(0, 65535))
    token: str = parameter("", "what the page's address must bring along; empty: none on this machine, else a new one")
    enable_stamped_cmd_vel: bool = parameter(False, "cmd_vel is TwistStamped instead of Twist")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token and (len(self.token) < _MIN_TOKEN_LENGTH or not self.token.isascii()):
            raise ConfigError(
                f"token must have {_MIN_TOKEN_LENGTH} ASCII characters or more, for a short one can be guessed; "
                "leave it empty and one is made"
            )


_NODES = ("velocity_guard", "inference")
_PERIOD = 0.2  # s of the timer that checks for viewers
_POLL_EVERY = 5  # periods
_OVERLAY_TIMEOUT = 1.0  # s
_NUM_LEVELS = 4  # of diagnostics


class Dashboard(ConfiguredNode[DashboardParameters]):
    """Serves the page until it is stopped.

    Raises ConfigError for an invalid parameter, or if the server cannot listen.
    """

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("dashboard", DashboardParameters, given, namespace)
        self.image_stream = ImageStream()
        self.viewers = self.pages = 0
        self._robot_state = RobotState()
        self._camera: Any = None
        self._overlay: Any = None
        self._last_overlay = 0.0  # monotonic, s; of the last overlay image, or of the subscription
        self._instructions = self.create_publisher(String, "instruction", LATCHED)
        self._enable_clients = [EnableClient(self, name) for name in _NODES]
        self._subscribe()
        self._lifecycle_state = ServicePoller(
            self, GetState, "inference/get_state", lambda response: response.current_state.label
        )
        self._remote_parameters = {name: RemoteParameters(self, name) for name in _NODES}
        self._tick = 0
        self.create_timer(_PERIOD, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._web = WebServer(self, self.settings.host, self.settings.port, self.settings.token)
        self.get_logger().info(f"the dashboard is at {self._web.address}")
        # Printed and not logged: the log goes to files and /rosout, and this URL gives control of the robot.
        print(f"open {self._web.login_url}", flush=True)

    def stop(self, why: str) -> None:
        self._web.stop()

    # Called in the web server's thread (RobotInterface).

    def snapshot(self) -> dict[str, Any]:
        return self._robot_state.snapshot() | {
            "state": self._lifecycle_state.last_response,
            "parameters": {name: each.values for name, each in self._remote_parameters.items()},
            "fault": self.image_stream.fault,
            "namespace": self.get_namespace(),
        }

    def set_instruction(self, text: str) -> None:
        # ROS would cut the text at a NUL, and cannot encode half a character: the robot would get another instruction.
        if not is_text(text):
            raise InputError("the instruction contains a NUL or an invalid character; it was not sent")
        self._instructions.publish(String(data=text))

    async def set_enabled(self, enabled: bool, send: Send) -> None:
        await asyncio.gather(*(client.set_enabled(enabled, send) for client in self._enable_clients))

    # Called in the executor's thread.

    def _subscribe(self) -> None:
        subscribe, state = self.create_subscription, self._robot_state
        command = TwistStamped if self.settings.enable_stamped_cmd_vel else Twist
        subscribe(command, "cmd_vel", lambda m: state.on_command(Velocity.from_twist(m)), 1)
        subscribe(TwistStamped, "inference/action", lambda m: state.on_action(Velocity.from_twist(m)), 1)
        for node, name in ((state.inference, "inference"), (state.guard, "velocity_guard")):
            subscribe(String, f"{name}/reason", self._on_reason(node), LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_reason(self, node: NodeStatus) -> Callable[[String], None]:
        return lambda message: setattr(node, "reason", message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        nodes = {"inference: inference": self._robot_state.inference, "velocity_guard: guard": self._robot_state.guard}
        own = self.get_namespace().strip("/")
        for status in message.status:
            node = nodes.get(status.name.removeprefix(f"{own}/" if own else ""))
            if node is not None:
                values = {pair.key: pair.value for pair in status.values}
                node.on_diagnostics(min(int.from_bytes(status.level, "big"), _NUM_LEVELS - 1), values)

    def _on_timer(self) -> None:
        self._tick += 1
        if self.pages and self._tick % _POLL_EVERY == 0:
            self._lifecycle_state.poll(GetState.Request())
            for parameters in self._remote_parameters.values():
                parameters.refresh()
        self._update_subscriptions()

    def _update_subscriptions(self) -> None:
        """Subscribe to the overlay while it is published, else to the camera; to neither without viewers."""
        now = time.monotonic()
        if self.viewers and self._overlay is None:
            self._last_overlay = now
            self._overlay = self.create_subscription(Image, "inference/overlay", self._on_overlay, NEWEST_IMAGE)
        elif not self.viewers and self._overlay is not None:
            self.destroy_subscription(self._overlay)
            self._overlay = None
        needs_camera = self.viewers > 0 and self._is_overlay_silent
        if needs_camera and self._camera is None:
            camera = self.settings.camera
            self._camera = self.create_subscription(camera.type, camera.name, self._on_camera, NEWEST_IMAGE)
        elif not needs_camera and self._camera is not None:
            self.destroy_subscription(self._camera)
            self._camera = None

    @property
    def _is_overlay_silent(self) -> bool:
        return time.monotonic() - self._last_overlay > _OVERLAY_TIMEOUT

    def _on_overlay(self, message: Image) -> None:
        self._last_overlay = time.monotonic()
        self.image_stream.set_image(OVERLAY, message)

    def _on_camera(self, message: Image | CompressedImage) -> None:
        if self._is_overlay_silent:
            self.image_stream.set_image(CAMERA, message)


def main() -> NoReturn:
    process.run(Dashboard)


if __name__ == "__main__":
    main()
