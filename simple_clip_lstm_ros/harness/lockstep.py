"""Real nodes in a world that waits for them: it goes on when the action on its newest image has become a command.

So a drive is the same on a fast machine and on a slow one, and takes no longer than the model does.
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
# The base accelerates as it can; the nodes' ramps go by ticks of the wall's clock, and the world has another.
_LIMITS |= {"max_accel": [1000.0] * 3, "max_decel": [-1000.0] * 3}
_COMMAND_RATE = 100.0  # Hz, of the wall's clock: how long a command is waited for
GUARD = MappingProxyType({**_LIMITS, "command_rate": _COMMAND_RATE})
# The clock stands still while the model computes, and that is no reason to stop.
NODE = MappingProxyType({**GUARD, "use_sim_time": "true", "image_timeout": 60.0, "command_timeout": 60.0})
AS_TRAINED = PERTURBATIONS["as trained"]
_BREAK = 10.0  # s of the world between drives: longer than state_timeout, so each begins with a fresh hidden state
# s of the wall's clock, after which an image must have been lost and is shown again: one that was not is seen twice.
_ANSWER = 20.0
_TIMEOUT = 60.0  # s
_ROUNDING = 1e-9  # m/s, rad/s


class Lockstep:
    """On a Stage that was started with NODE and GUARD as parameters and without a camera."""

    def __init__(self, stage: NodeHarness) -> None:
        self._stage = stage
        self._clock = stage.node.create_publisher(Clock, "/clock", 1)
        self._images = stage.node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._time = _BREAK  # s; a stamp of zero would mean none

    def drive(self, layout: Layout, condition: Perturbation = AS_TRAINED) -> World:
        """Until the drive has ended (see Outcome)."""
        layout = condition.layout(layout)
        world = World(layout)
        self._stage.spin_for(_TIMEOUT, lambda: self._images.get_subscription_count() > 0)
        told, begin = None, self._time
        while not world.outcome.ended:
            instruction = condition.instruction(world)
            if instruction != told:
                self._set("instruction", instruction)
                told = instruction
            if condition.resets_state(world):
                self._stage.ask("inference/reset")
            world.command(self._command(world, condition))
            world.advance(PERIOD)
            self._time = begin + world.base.time
        self._time += _BREAK
        return world

    def _set(self, name: str, value: object) -> None:
        """A parameter of the node: unlike a message on a topic it is answered, and no image can overtake it."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self._stage.call(SetParameters, "inference/set_parameters", request).results
        if not result.successful:
            raise SimpleClipLstmError(result.reason)

    def _command(self, world: World, condition: Perturbation) -> Velocity:
        """What the guard lets through once the node has acted on what the camera sees now."""
        stamp = to_time(self._time)
        # The clock goes first: an image from the future would be refused.
        self._clock.publish(Clock(clock=stamp))
        image = to_image(condition.frame(world), stamp, "camera")
        for _ in range(round(_TIMEOUT / _ANSWER)):
            self._images.publish(image)
            if self._stage.spin_for(_ANSWER, lambda: self._acted_on(stamp)):
                return self._next_command()
        raise SimpleClipLstmError(f"the node did not act on an image within {_TIMEOUT:g} s: {self._stage.reason}")

    def _next_command(self) -> Velocity:
        """The action within the limits. Commands of before may be under way still, however many, and are let pass."""
        assert self._stage.action is not None
        wanted = DIFFERENTIAL.clamp(Velocity.from_twist(self._stage.action))
        if not self._stage.spin_for(_TIMEOUT, lambda: self._commands(wanted)):
            raise SimpleClipLstmError(f"no action became a command within {_TIMEOUT:g} s: {self._stage.reason}")
        return wanted

    def _commands(self, wanted: Velocity) -> bool:
        command = self._stage.command
        return command is not None and np.allclose(
            Velocity.from_twist(command).as_tuple(), wanted.as_tuple(), atol=_ROUNDING
        )

    def _acted_on(self, stamp: Time) -> bool:
        return self._stage.action is not None and self._stage.action.header.stamp == stamp
