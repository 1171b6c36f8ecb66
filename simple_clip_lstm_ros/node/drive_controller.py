"""What drives between configure and cleanup: images and instructions in, velocities out.

Who runs what: the executor's thread runs the callbacks, one thread steps the policy, one commands, and whoever carries
out a transition or ends the process activates, deactivates and releases. They meet in the Governor. Every call of it,
together with the publishing of what it decided, is under one lock: after a callback has published a zero, no older
command can follow it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from simple_clip_lstm_ros.control.control_loop import ControlLoop, Instruction
from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import Governor
from simple_clip_lstm_ros.control.timing import DriveTiming, StepTiming, drive_report, format_report
from simple_clip_lstm_ros.data.overlay import draw_text, upscale_small
from simple_clip_lstm_ros.errors import Cancelled
from simple_clip_lstm_ros.language.instruction import interpret
from simple_clip_lstm_ros.node.image_receiver import ImageReceiver
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters
from simple_clip_lstm_ros.node.inference_thread import InferenceRequest, InferenceThread
from simple_clip_lstm_ros.policy.policy import Action, Policy
from simple_clip_lstm_ros.ros.camera_topic import to_image
from simple_clip_lstm_ros.ros.cmd_vel_publisher import CmdVelPublisher
from simple_clip_lstm_ros.ros.conversions import to_seconds, to_twist_stamped
from simple_clip_lstm_ros.ros.periodic_thread import PeriodicThread
from simple_clip_lstm_ros.ros.qos import NEWEST_IMAGE, subscribe_to_text


class DriveController:
    """Owns the policy, the Governor and every endpoint that exists only while the node is configured."""

    def __init__(
        self, node: Node, settings: InferenceParameters, policy: Policy, *, announce: Callable[[Decision], None]
    ) -> None:
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
        validate = policy.validate_instruction
        self._loop = ControlLoop(self._governor, lambda text: interpret(text, validate), policy.config.action_axes)
        self._inference: InferenceThread | None = None
        self._ticker: PeriodicThread | None = None
        self._is_released = self._is_destroyed = False
        self._subscriptions: list[Any] = []
        self._action: Action | None = None
        self._eye = ImageReceiver(node)
        self._cadence = DriveTiming(settings.command_rate, time.monotonic())
        self._last_report: dict[str, Any] | None = None
        self._commands = CmdVelPublisher(node, settings)
        self._actions = node.create_publisher(TwistStamped, "inference/action", 1)
        self._overlays = node.create_publisher(Image, "inference/overlay", 1)

    def activate(self) -> None:
        """Raises Cancelled when released: the process ends."""
        with self._lock:
            if self._is_released:
                raise Cancelled("the node ends")
            self._begin_drive()
            self._subscribe()
            self._ticker = PeriodicThread(1.0 / self._settings.command_rate, self._on_tick, "commands")

    def _begin_drive(self) -> None:
        self._governor.activate()
        self._action = None
        self._eye = ImageReceiver(self._node)
        self._cadence = DriveTiming(self._settings.command_rate, time.monotonic())
        self._last_report = None
        self._inference = InferenceThread(
            self.policy, self._settings.state_timeout, self._on_action, self._on_step_failed
        )
        self.set_instruction(self._settings.instruction)

    def deactivate(self) -> None:
        """Command zero, then end whatever could command anything else. Safe when not active."""
        self._halt()
        self._teardown()
        self.policy.reset()

    def release(self, why: str = "", *, patience: float | None = None) -> None:
        """Deactivate for good: wait until the last zero has arrived, and for a step under way, `patience` seconds.

        Safe to call again, and while another thread is in it.
        """
        with self._lock:
            self._halt(why)
            self._is_released = True
            if not self._is_destroyed:
                self._commands.flush()
        self._teardown(patience)
        with self._lock:
            if not self._is_destroyed:
                self._is_destroyed = True
                self._in_executor(self._commands.destroy)
                for publisher in (self._actions, self._overlays):
                    self._in_executor(self._node.destroy_publisher, publisher)

    def _halt(self, why: str = "") -> None:
        """From here on nothing but zero is commanded."""
        with self._lock:
            ticker, self._ticker = self._ticker, None
            if ticker is not None:
                ticker.stop()
            self._governor.deactivate()
            self._halt_at_once(why)
            if ticker is not None:
                self._last_report = self.drive_report()
                self._node.get_logger().info(format_report(self._last_report))

    def _teardown(self, patience: float | None = None) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            self._in_executor(self._node.destroy_subscription, subscription)
        inference, self._inference = self._inference, None
        if inference is not None:
            inference.stop(patience)

    def _in_executor(self, destroy: Callable[..., object], *endpoint: object) -> None:
        """Soon, in its thread: rclpy's executor breaks on an endpoint that goes while it gathers what to wait for."""
        self._node.executor.create_task(destroy, *endpoint)

    def enable(self, enabled: bool) -> None:
        """The software e-stop: a zero is published before this returns if `enabled` is False."""
        with self._lock:
            self._governor.enable(enabled)
            if not enabled:
                self._halt_at_once()

    def reset(self) -> None:
        inference = self._inference
        if inference is not None:
            inference.reset()

    def interpret(self, text: str) -> Instruction:
        """Return what `text` asks for."""
        return self._loop.interpret(text)

    def set_instruction(self, text: str) -> None:
        """Follow it from now on, stop if it is blank or a stop phrase, and stop with a reason if it cannot be used."""
        instruction = self._loop.interpret(text)
        with self._lock:
            self._loop.set_instruction(instruction)

    def adjust(self, settings: InferenceParameters) -> None:
        """Take over the parameters that may change while driving."""
        with self._lock:
            self._settings = settings
            self._governor.update_limits(
                settings.limits, image_timeout=settings.image_timeout, command_timeout=settings.command_timeout
            )
            inference = self._inference
            if inference is not None:
                inference.set_state_timeout(settings.state_timeout)

    def drive_report(self) -> dict[str, Any]:
        """The drive under way, or the last one, for JSON."""
        with self._lock:
            if self._last_report is not None:
                return self._last_report
            report = drive_report(self._governor, self._cadence, time.monotonic())
        report["counts"]["images refused"] = self._eye.refused
        return report

    @property
    def has_warnings(self) -> bool:
        """Whether something is not as it should be, though nothing that stops the robot."""
        config = self.policy.config
        return config.untrained or bool(config.assumed) or bool(config.reductions) or self._eye.is_frozen

    def report(self) -> dict[str, object]:
        """What diagnostics show: present values, and counts since activation."""
        now, action, governor = self._now(), self._action, self._governor
        return {
            "instruction": governor.instruction,
            "action": " ".join(f"{value:.3f}" for value in action.values) if action else "",
            "action age (s)": f"{now - action.stamp:.3f}" if action else "",
            "inference latency (s)": f"{action.latency:.3f}" if action else "",
            "frames in hidden state": action.state_step if action else 0,
            "same picture for (s)": f"{self._eye.frozen_seconds:.1f}",
            "images refused": self._eye.refused,
            **governor.counts,
        }

    # Callbacks of the executor.

    def _on_image(self, message: Image | CompressedImage) -> None:
        arrival, clock = time.monotonic(), self._now()
        seen = self._eye.read(message)
        if seen is None:
            return
        image, stamp = seen
        with self._lock:
            key = self._governor.on_image(to_seconds(stamp), self._now())
        if key is None:
            why = "from the future, or older than the one before; set the clocks of camera and robot alike"
            return self._eye.refuse(f"it is {why}")
        self._cadence.image(clock - to_seconds(stamp))
        inference = self._inference
        if key.instruction and inference is not None:
            inference.submit(InferenceRequest(image, stamp, key, arrival))

    def _on_instruction(self, message: String) -> None:
        self.set_instruction(message.data)

    def _halt_at_once(self, why: str = "") -> None:
        """Command zero if something calls for it, and not at the next tick only; `why` says more. Under the lock."""
        decision = self._governor.halt(self._now())
        if decision is not None and not self._is_released:
            self._command(replace(decision, detail=why) if why else decision)

    def _command(self, decision: Decision) -> None:
        """Under the lock: no older command can follow."""
        self._commands.publish(decision.velocity)
        self._announce(decision)

    # Of the thread that commands.

    def _on_tick(self) -> None:
        with self._lock:
            # A tick that has waited for the lock while the node was deactivated comes too late.
            if self._ticker is not None:
                self._command(self._governor.tick(self._now()))
                self._cadence.command(time.monotonic())

    # Callbacks of the inference thread.

    def _on_action(self, action: Action, frame: InferenceRequest, waited: float) -> None:
        begin = time.monotonic()
        with self._lock:
            velocity = self._loop.on_action(action.values, frame.key)
            held = time.monotonic()
            age = self._now() - action.stamp
            self._cadence.step(StepTiming(action.latency, age, action.stamp, waited + held - begin), held)
            self._action = action
            if not velocity.is_finite:
                self._halt_at_once()
        self._actions.publish(to_twist_stamped(velocity, frame.stamp, self._settings.frame_id))
        if self._overlays.get_subscription_count():
            x, y, yaw = velocity.as_tuple()
            lines = (
                frame.key.instruction,
                f"x {x:+.2f}  y {y:+.2f} m/s  yaw {yaw:+.2f} rad/s",
                f"{action.latency:.3f} s",
            )
            self._overlays.publish(
                to_image(draw_text(upscale_small(frame.image), lines), frame.stamp, self._settings.frame_id)
            )

    def _on_step_failed(self, why: str, frame: InferenceRequest) -> None:
        self._node.get_logger().error(f"inference failed: {why}", throttle_duration_sec=5.0)
        with self._lock:
            self._governor.on_step_failed(why, frame.key)
            self._halt_at_once()

    def _subscribe(self) -> None:
        camera = self._settings.camera
        self._subscriptions = [
            self._node.create_subscription(camera.type, camera.name, self._on_image, NEWEST_IMAGE),
            *subscribe_to_text(self._node, "instruction", self._on_instruction),
        ]

    def _now(self) -> float:
        return to_seconds(self._node.get_clock().now().to_msg())
