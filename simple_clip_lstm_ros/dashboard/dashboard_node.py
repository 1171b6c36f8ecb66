"""The parameters of the dashboard, each described once."""

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

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class DashboardParameters(CameraParameters):
    """Values of all parameters, checked. Raises ConfigError."""

    host: str = parameter("127.0.0.1", "address to listen on; anything but this machine's own asks for a token")
    port: int = parameter(8088, "of the page", within=Range(0, 65535))
    token: str = parameter("", "what the page's address must bring along; empty: none on this machine, else a new one")
    enable_stamped_cmd_vel: bool = parameter(False, "cmd_vel is TwistStamped instead of Twist")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token and (len(self.token) < _SHORTEST_TOKEN or not self.token.isascii()):
            raise ConfigError(
                f"token must have {_SHORTEST_TOKEN} ASCII characters or more, for a short one can be guessed; "
                "leave it empty and one is made"
            )


_WATCHED = ("velocity_guard", "inference")
_PERIOD = 0.2  # s; how often it looks whether somebody watches
_ASK_EVERY = 5  # of these
_OVERLAY_SILENT = 1.0  # s
_LEVELS = 4


class Dashboard(ConfiguredNode[DashboardParameters]):
    """Serves its page until it is stopped.

    Raises ConfigError for a parameter that is not allowed, and where it cannot listen.
    """

    def __init__(self, given: Mapping[str, object] = MappingProxyType({}), namespace: str | None = None) -> None:
        super().__init__("dashboard", DashboardParameters, given, namespace)
        self.pictures = ImageStream()
        self.viewers = self.pages = 0
        self._board = RobotState()
        self._camera: Any = None
        self._overlay: Any = None
        self._last_overlay = 0.0  # or since when one watches
        self._instructions = self.create_publisher(String, "instruction", LATCHED)
        self._switches = [EnableClient(self, name) for name in _WATCHED]
        self._listen()
        self._state = ServicePoller(self, GetState, "inference/get_state", lambda answer: answer.current_state.label)
        self._parameters = {name: RemoteParameters(self, name) for name in _WATCHED}
        self._tick = 0
        self.create_timer(_PERIOD, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._web = WebServer(self, self.settings.host, self.settings.port, self.settings.token)
        self.get_logger().info(f"the dashboard is at {self._web.address}")
        # Not by the log, which goes to files and to everybody on /rosout: whoever has this address has the robot.
        print(f"open {self._web.login_url}", flush=True)

    def stop(self, why: str) -> None:
        self._web.stop()

    # For the web's thread.

    def present(self) -> dict[str, Any]:
        return self._board.present() | {
            "state": self._state.last_response,
            "parameters": {name: each.values for name, each in self._parameters.items()},
            "fault": self.pictures.fault,
            "namespace": self.get_namespace(),
        }

    def instruct(self, text: str) -> None:
        # ROS would cut the text at a NUL, and cannot encode half a character: the robot would be told something else.
        if not is_text(text):
            raise InputError("the instruction contains a NUL or a character that is no text; it was not sent")
        self._instructions.publish(String(data=text))

    async def enable(self, enabled: bool, tell: Send) -> None:
        await asyncio.gather(*(switch.set_enabled(enabled, tell) for switch in self._switches))

    # Of the executor's thread.

    def _listen(self) -> None:
        subscribe, board = self.create_subscription, self._board
        command = TwistStamped if self.settings.enable_stamped_cmd_vel else Twist
        subscribe(command, "cmd_vel", lambda m: board.command(Velocity.from_twist(m)), 1)
        subscribe(TwistStamped, "inference/action", lambda m: board.action(Velocity.from_twist(m)), 1)
        for party, name in ((board.inference, "inference"), (board.guard, "velocity_guard")):
            subscribe(String, f"{name}/reason", self._reason_of(party), LATCHED)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _reason_of(self, party: NodeStatus) -> Callable[[String], None]:
        return lambda message: setattr(party, "reason", message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        parties = {"inference: inference": self._board.inference, "velocity_guard: guard": self._board.guard}
        own = self.get_namespace().strip("/")
        for status in message.status:
            party = parties.get(status.name.removeprefix(f"{own}/" if own else ""))
            if party is not None:
                values = {pair.key: pair.value for pair in status.values}
                party.report(min(int.from_bytes(status.level, "big"), _LEVELS - 1), values)

    def _on_timer(self) -> None:
        self._tick += 1
        if self.pages and self._tick % _ASK_EVERY == 0:
            self._state.poll(GetState.Request())
            for parameters in self._parameters.values():
                parameters.refresh()
        self._look()

    def _look(self) -> None:
        """At the overlay while one watches and it flows, at the camera while it does not: no image is read in vain."""
        now = time.monotonic()
        if self.viewers and self._overlay is None:
            self._last_overlay = now
            self._overlay = self.create_subscription(Image, "inference/overlay", self._on_overlay, NEWEST_IMAGE)
        elif not self.viewers and self._overlay is not None:
            self.destroy_subscription(self._overlay)
            self._overlay = None
        wants_camera = self.viewers > 0 and self._is_overlay_silent
        if wants_camera and self._camera is None:
            camera = self.settings.camera
            self._camera = self.create_subscription(camera.type, camera.name, self._on_camera, NEWEST_IMAGE)
        elif not wants_camera and self._camera is not None:
            self.destroy_subscription(self._camera)
            self._camera = None

    @property
    def _is_overlay_silent(self) -> bool:
        return time.monotonic() - self._last_overlay > _OVERLAY_SILENT

    def _on_overlay(self, message: Image) -> None:
        self._last_overlay = time.monotonic()
        self.pictures.take(OVERLAY, message)

    def _on_camera(self, message: Image | CompressedImage) -> None:
        if self._is_overlay_silent:
            self.pictures.take(CAMERA, message)


def main() -> NoReturn:
    process.run(Dashboard)


if __name__ == "__main__":
    main()
