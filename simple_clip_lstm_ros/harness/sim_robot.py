"""A simulated robot in a world of `sim` as a node: `python -m simple_clip_lstm_ros.harness.sim_robot`.

It has a camera (`image_raw`), odometry (`odom`) and a base that follows `cmd_vel`. The outcome of the drive is
published on `sim_robot/outcome`, latched, as JSON. `sim_robot/reset` starts again, in the world that the parameters
`scenario`, `seed` and `base` name at that time. With `publish_clock` it publishes /clock, which may run `speed` times
as fast as the wall clock.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.ros import process
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time, to_twist
from simple_clip_lstm_ros.ros.qos import LATCHED
from simple_clip_lstm_ros.sim.layout import sample_layout
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL, OMNIDIRECTIONAL
from simple_clip_lstm_ros.sim.scenario import SCENARIOS, Scenario
from simple_clip_lstm_ros.sim.world import STEP, World

_MAX_LAG = 0.2  # s; a world with a larger lag runs slower instead of catching up in jumps
_BASES = {"differential": DIFFERENTIAL, "omnidirectional": OMNIDIRECTIONAL}
_BEGIN = 1.0  # s of /clock; a stamp of zero means no stamp


class SimRobot(Node):
    """Simulates a robot in a world. Raises ConfigError for invalid parameters."""

    def __init__(self) -> None:
        super().__init__("sim_robot")
        self.declare_parameter("scenario", str(SCENARIOS[0]))
        self.declare_parameter("seed", 0)
        self.declare_parameter("base", "differential")
        rate = self.declare_parameter("image_rate", 10.0).value  # Hz of the world's time
        self._speed = self.declare_parameter("speed", 1.0).value
        self._has_clock = self.declare_parameter("publish_clock", False).value
        if rate <= 0.0 or self._speed <= 0.0:
            raise ConfigError(f"image_rate and speed must be positive, not {rate} and {self._speed}")
        if self._speed != 1.0 and not self._has_clock:
            raise ConfigError("a speed other than 1 needs publish_clock: true, and use_sim_time: true in other nodes")
        self._image_every = max(1, round(1.0 / rate / STEP))
        self._world = self._make_world()
        self._steps = 0
        self._start_time = time.monotonic()
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._odometry = self.create_publisher(Odometry, "odom", 10)
        self._outcomes = self.create_publisher(String, "sim_robot/outcome", LATCHED)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 1) if self._has_clock else None
        self.create_subscription(Twist, "cmd_vel", self._on_command, 1)
        self.create_service(Trigger, "sim_robot/reset", self._on_reset)
        self._last_events: tuple[object, ...] = ()
        self._timer = self.create_timer(STEP, self._on_timer)

    def stop(self, why: str) -> None:
        self._timer.cancel()

    def _make_world(self) -> World:
        name, seed, base = (self.get_parameter(each).value for each in ("scenario", "seed", "base"))
        scenario = Scenario.parse(name)
        if scenario is None:
            raise ConfigError(f"scenario: {name!r} is not one of {', '.join(map(str, SCENARIOS))}")
        if base not in _BASES:
            raise ConfigError(f"base: {base!r} is not one of {', '.join(_BASES)}")
        if seed < 0:
            raise ConfigError(f"seed must be zero or positive, not {seed}")
        return World(sample_layout(scenario, seed), limits=_BASES[base])

    def _on_command(self, message: Twist) -> None:
        velocity = Velocity.from_twist(message)
        if velocity.is_finite:
            self._world.command(velocity)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._world = self._make_world()
        except ConfigError as error:
            response.message = str(error)
            return response
        response.success = True
        response.message = f"{self._world.layout.scenario}, seed {self._world.layout.seed}"
        return response

    def _on_timer(self) -> None:
        due = (time.monotonic() - self._start_time) * self._speed
        excess = due - self._steps * STEP - _MAX_LAG * self._speed
        if excess > 0.0:
            self._start_time += excess / self._speed
            due -= excess
        while (self._steps + 1) * STEP <= due:
            self._world.advance(STEP)
            self._steps += 1
            self._publish()

    def _publish(self) -> None:
        stamp = self._stamp()
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=stamp))
        self._odometry.publish(self._odometry_message(stamp))
        if self._steps % self._image_every == 0:
            self._images.publish(to_image(self._world.frame(), stamp, "camera"))
        outcome = self._world.outcome
        events = (outcome.reached, outcome.contact, outcome.side, outcome.ended)
        if events != self._last_events:
            self._last_events = events
            values = asdict(outcome) | {"success": outcome.success, "ended": outcome.ended}
            self._outcomes.publish(String(data=json.dumps(values)))

    def _stamp(self) -> Time:
        if not self._has_clock:
            return self.get_clock().now().to_msg()
        return to_time(_BEGIN + self._steps * STEP)

    def _odometry_message(self, stamp: Time) -> Odometry:
        pose = self._world.base.pose
        message = Odometry(child_frame_id="base_link")
        message.header.stamp, message.header.frame_id = stamp, "odom"
        message.pose.pose.position.x, message.pose.pose.position.y = pose.x, pose.y
        message.pose.pose.orientation.z = math.sin(pose.yaw / 2)
        message.pose.pose.orientation.w = math.cos(pose.yaw / 2)
        message.twist.twist = to_twist(self._world.base.velocity)
        return message


if __name__ == "__main__":
    process.run(SimRobot)
