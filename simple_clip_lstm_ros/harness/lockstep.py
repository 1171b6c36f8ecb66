"""Real nodes in lockstep with a world, which advances when the action on its newest image has become a command.

A drive is therefore the same on fast and slow machines, and takes no longer than the model does.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from builtin_interfaces.msg import Time
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.errors import SimpleClipLstmError
from simple_clip_lstm_ros.harness.node_harness import NodeHarness
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.conversions import to_time
from simple_clip_lstm_ros.sim.layout import Layout
from simple_clip_lstm_ros.sim.mobile_base import DIFFERENTIAL
from simple_clip_lstm_ros.sim.perturbations import PERTURBATIONS, Perturbation
from simple_clip_lstm_ros.sim.rollouts import PERIOD
from simple_clip_lstm_ros.sim.world import World

_LIMITS = {name: list(getattr(DIFFERENTIAL, name)) for name in ("max_velocity", "min_velocity")}
# The base limits its own acceleration. The nodes' ramps follow the wall clock, which is not the world's clock.
_LIMITS |= {"max_accel": [1000.0] * 3, "max_decel": [-1000.0] * 3}
_COMMAND_RATE = 100.0  # Hz of the wall clock: how long to wait for a command
GUARD = MappingProxyType({**_LIMITS, "command_rate": _COMMAND_RATE})
# The clock does not advance while the model computes; that must not stop the robot.
NODE = MappingProxyType({**GUARD, "use_sim_time": "true", "image_timeout": 60.0, "command_timeout": 60.0})
AS_TRAINED = PERTURBATIONS["as trained"]
_BREAK = 10.0  # s of the world between drives: longer than state_timeout, so that each drive starts with a fresh state
# s of the wall clock until an image counts as lost and is sent again. If it was not lost, the model sees it twice.
_RESEND_TIMEOUT = 20.0
_TIMEOUT = 60.0  # s
_ROUNDING = 1e-9  # m/s, rad/s


class Lockstep:
    """Drives through worlds with real nodes.

    The NodeHarness must have been started with parameters NODE and GUARD, and without a camera.
    """

    def __init__(self, harness: NodeHarness) -> None:
        self._harness = harness
        self._clock = harness.node.create_publisher(Clock, "/clock", 1)
        self._images = harness.node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._time = _BREAK  # s; a stamp of zero means no stamp

    def drive(self, layout: Layout, perturbation: Perturbation = AS_TRAINED) -> World:
        """Drive in `layout` until the drive has ended (see Outcome), and return the world."""
        layout = perturbation.layout(layout)
        world = World(layout)
        self._harness.spin_for(_TIMEOUT, lambda: self._images.get_subscription_count() > 0)
        current, begin = None, self._time
        while not world.outcome.ended:
            instruction = perturbation.instruction(world)
            if instruction != current:
                self._set_parameter("instruction", instruction)
                current = instruction
            if perturbation.resets_state(world):
                self._harness.call_trigger("inference/reset")
            world.command(self._next_command(world, perturbation))
            world.advance(PERIOD)
            self._time = begin + world.base.time
        self._time += _BREAK
        return world

    def _set_parameter(self, name: str, value: object) -> None:
        """Set a parameter of the node. Raise SimpleClipLstmError if it is rejected.

        Unlike a message on a topic it is answered, so that no image can overtake it.
        """
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self._harness.call_service(SetParameters, "inference/set_parameters", request).results
        if not result.successful:
            raise SimpleClipLstmError(result.reason)

    def _next_command(self, world: World, perturbation: Perturbation) -> Velocity:
        """Publish the camera's image and return the guard's command for the action on it.

        Raise SimpleClipLstmError if there is none within 60 s.
        """
        stamp = to_time(self._time)
        # Publish the clock first: the node rejects images from the future.
        self._clock.publish(Clock(clock=stamp))
        image = to_image(perturbation.frame(world), stamp, "camera")
        for _ in range(round(_TIMEOUT / _RESEND_TIMEOUT)):
            self._images.publish(image)
            if self._harness.spin_for(_RESEND_TIMEOUT, lambda: self._has_acted_on(stamp)):
                return self._wait_for_command()
        raise SimpleClipLstmError(f"the node did not act on an image within {_TIMEOUT:g} s: {self._harness.reason}")

    def _wait_for_command(self) -> Velocity:
        """Wait until the action, clamped to the limits, is the command; return it.

        Earlier commands may still arrive, and are ignored.
        """
        assert self._harness.action is not None
        expected = DIFFERENTIAL.clamp(Velocity.from_twist(self._harness.action))
        if not self._harness.spin_for(_TIMEOUT, lambda: self._has_command(expected)):
            raise SimpleClipLstmError(f"no action became a command within {_TIMEOUT:g} s: {self._harness.reason}")
        return expected

    def _has_command(self, expected: Velocity) -> bool:
        command = self._harness.command
        return command is not None and np.allclose(
            Velocity.from_twist(command).as_tuple(), expected.as_tuple(), atol=_ROUNDING
        )

    def _has_acted_on(self, stamp: Time) -> bool:
        return self._harness.action is not None and self._harness.action.header.stamp == stamp
