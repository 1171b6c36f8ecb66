"""What drives between configure and cleanup: images and instructions in, velocities out.

Who runs what: executor threads run the callbacks, one inference thread steps the policy. They meet in the Governor.
Every call of it, together with the publishing of what it decided, is under one lock: after a callback has published a
zero, no older command can follow it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from simple_clip_lstm_ros.control.governor import Decision, Governor
from simple_clip_lstm_ros.control.velocity import Velocity
from simple_clip_lstm_ros.errors import InputError
from simple_clip_lstm_ros.node.images import to_rgb
from simple_clip_lstm_ros.node.inference_thread import Frame, InferenceThread
from simple_clip_lstm_ros.node.messages import to_image, to_seconds, to_twist, to_twist_stamped, with_lines
from simple_clip_lstm_ros.node.settings import Settings
from simple_clip_lstm_ros.policy.policy import Action, Policy

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_NEWEST_IMAGE = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)


class Driver:
    """Owns the policy, the Governor and every endpoint that exists only while the node is configured."""

    def __init__(self, node: Node, settings: Settings, policy: Policy, *, announce: Callable[[Decision], None]) -> None:
        self.policy = policy
        self._node = node
        self._settings = settings
        self._announce = announce
        self._lock = threading.RLock()
        self._governor = Governor(
            settings.limits,
            period=1.0 / settings.command_rate,
            image_timeout=settings.image_timeout,
            command_timeout=settings.command_timeout,
            may_move=settings.allow_untrained or not policy.config.untrained,
        )
        self._inference: InferenceThread | None = None
        self._timer: Any = None
        self._subscriptions: list[Any] = []
        self._action: Action | None = None
        self._counts = {"images": 0, "images refused": 0, "actions": 0}
        kind = TwistStamped if settings.enable_stamped_cmd_vel else Twist
        self._commands = node.create_publisher(kind, "cmd_vel", 1)
        self._actions = node.create_publisher(TwistStamped, "inference/action", 1)
        self._overlays = node.create_publisher(Image, "inference/overlay", 1)

    def activate(self) -> None:
        self._governor.activate()
        self._inference = InferenceThread(
            self.policy, self._settings.state_timeout, self._on_action, self._on_step_failed
        )
        self._instruct(self._settings.instruction)
        self._subscribe()
        # By the steady clock, so that commands go on where ROS time stands still or jumps.
        self._timer = self._node.create_timer(
            1.0 / self._settings.command_rate,
            self._on_tick,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def deactivate(self) -> None:
        """Command zero, then end whatever could command anything else. Safe when not active."""
        with self._lock:
            if self._timer is not None:
                self._node.destroy_timer(self._timer)
                self._timer = None
            self._governor.deactivate()
            self._decide()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        if self._inference is not None:
            self._inference.stop()
            self._inference = None
        self.policy.reset()

    def release(self) -> None:
        """Deactivate, wait until the last zero has reached whoever listens reliably, and give the endpoints up."""
        self.deactivate()
        self._commands.wait_for_all_acked(Duration(seconds=1))
        for publisher in (self._commands, self._actions, self._overlays):
            self._node.destroy_publisher(publisher)

    def enable(self, enabled: bool) -> None:
        """The software e-stop: a zero is published before this returns if `enabled` is False."""
        with self._lock:
            self._governor.enable(enabled)
            if not enabled:
                self._decide()

    def reset(self) -> None:
        if self._inference is not None:
            self._inference.reset()

    def report(self) -> dict[str, object]:
        """What diagnostics show: present values and counts since configure."""
        now, action = self._now(), self._action
        return {
            "instruction": self._governor.instruction,
            "action": " ".join(f"{value:.3f}" for value in action.values) if action else "",
            "action age (s)": f"{now - action.stamp:.3f}" if action else "",
            "inference latency (s)": f"{action.latency:.3f}" if action else "",
            "frames in hidden state": action.state_step if action else 0,
            **self._counts,
        }

    # Callbacks of the executor.

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._counts["images"] += 1
        now = self._node.get_clock().now().to_msg()
        stamp = message.header.stamp
        if not (stamp.sec or stamp.nanosec):
            self._node.get_logger().warning("images bear no stamp; their arrival counts instead", once=True)
            stamp = now
        try:
            image = to_rgb(message)
            with self._lock:
                if not self._governor.image(to_seconds(stamp), to_seconds(now)):
                    raise InputError("an image from the future: set the clocks of camera and robot alike")
                instruction = self._governor.instruction
        except InputError as error:
            self._counts["images refused"] += 1
            self._node.get_logger().warning(f"image refused: {error}", throttle_duration_sec=5.0)
            return
        if instruction and self._inference is not None:
            self._inference.submit(Frame(image, stamp, instruction))

    def _on_instruction(self, message: String) -> None:
        self._instruct(message.data)

    def _instruct(self, text: str) -> None:
        refusal = self.policy.refusal(text) if text.strip() else ""
        with self._lock:
            if refusal:
                self._governor.refuse(refusal)
            else:
                self._governor.instruct(text)

    def _on_tick(self) -> None:
        with self._lock:
            # A tick that has waited for the lock while the node was deactivated comes too late.
            if self._timer is not None:
                self._decide()

    def _decide(self) -> None:
        """Publish what the Governor decides now. Under the lock."""
        decision = self._governor.tick(self._now())
        if self._settings.enable_stamped_cmd_vel:
            stamp = self._node.get_clock().now().to_msg()
            self._commands.publish(to_twist_stamped(decision.velocity, stamp, self._settings.frame_id))
        else:
            self._commands.publish(to_twist(decision.velocity))
        self._announce(decision)

    # Callbacks of the inference thread.

    def _on_action(self, action: Action, frame: Frame) -> None:
        velocity = Velocity.from_axes(action.values, self.policy.config.action_axes)
        with self._lock:
            self._governor.action(velocity, action.stamp, frame.instruction)
            self._action = action
            self._counts["actions"] += 1
        self._actions.publish(to_twist_stamped(velocity, frame.stamp, self._settings.frame_id))
        if self._overlays.get_subscription_count():
            x, y, yaw = velocity.as_tuple()
            lines = (frame.instruction, f"x {x:+.2f}  y {y:+.2f} m/s  yaw {yaw:+.2f} rad/s", f"{action.latency:.3f} s")
            self._overlays.publish(to_image(with_lines(frame.image, lines), frame.stamp, self._settings.frame_id))

    def _on_step_failed(self, why: str, frame: Frame) -> None:
        self._node.get_logger().error(f"inference failed: {why}", throttle_duration_sec=5.0)
        with self._lock:
            self._governor.step_failed(why)
            self._decide()

    def _subscribe(self) -> None:
        raw = self._settings.image_transport == "raw"
        topic = self._settings.image_topic if raw else f"{self._settings.image_topic}/compressed"
        create = self._node.create_subscription
        self._subscriptions.append(create(Image if raw else CompressedImage, topic, self._on_image, _NEWEST_IMAGE))
        # A volatile publisher does not reach a transient-local subscription, nor a latched text a volatile one.
        # That each publisher matches but one of the two is meant, so rclpy's warning of it is switched off.
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        for profile in (QoSProfile(depth=10), LATCHED):
            topic = "instruction"
            self._subscriptions.append(create(String, topic, self._on_instruction, profile, event_callbacks=quiet))

    def _now(self) -> float:
        return to_seconds(self._node.get_clock().now().to_msg())
