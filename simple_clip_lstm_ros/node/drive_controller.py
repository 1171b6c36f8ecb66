"""Controller of a drive between configure and cleanup: images and instructions to velocities.

Threads: executor (callbacks), inference (steps), commands (at command_rate), and transition or process end (activate,
deactivate, release). All share the Governor. One lock covers each call of the Governor and the publishing of its
decision: after a callback has published a zero, no older command can follow.
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

from simple_clip_lstm_ros.control.control_loop import ControlLoop, InterpretedText
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
from simple_clip_lstm_ros.ros.process import PeriodicThread
from simple_clip_lstm_ros.ros.qos import NEWEST_IMAGE, subscribe_to_text


class DriveController:
    """Owns the policy, the Governor and every endpoint that exists only while the node is configured."""

    def __init__(
        self, node: Node, settings: InferenceParameters, policy: Policy, *, on_decision: Callable[[Decision], None]
    ) -> None:
        self.policy = policy
        self._node = node
        self._settings = settings
        self._on_decision = on_decision
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
        self._command_thread: PeriodicThread | None = None
        self._is_released = self._is_destroyed = False
        self._subscriptions: list[Any] = []
        self._action: Action | None = None
        self._image_receiver = ImageReceiver(node)
        self._timing = DriveTiming(settings.command_rate, time.monotonic())
        self._last_report: dict[str, Any] | None = None
        self._cmd_vel = CmdVelPublisher(node, settings)
        self._action_publisher = node.create_publisher(TwistStamped, "inference/action", 1)
        self._overlay_publisher = node.create_publisher(Image, "inference/overlay", 1)

    def activate(self) -> None:
        """Start driving. Raise Cancelled after `release`, since the process ends."""
        with self._lock:
            if self._is_released:
                raise Cancelled("the node ends")
            self._begin_drive()
            self._subscribe()
            self._command_thread = PeriodicThread(1.0 / self._settings.command_rate, self._on_tick, "commands")

    def _begin_drive(self) -> None:
        self._governor.activate()
        self._action = None
        self._image_receiver = ImageReceiver(self._node)
        self._timing = DriveTiming(self._settings.command_rate, time.monotonic())
        self._last_report = None
        self._inference = InferenceThread(
            self.policy, self._settings.state_timeout, self._on_action, self._on_step_failed
        )
        self.set_instruction(self._settings.instruction)

    def deactivate(self) -> None:
        """Command zero, then end everything that could command otherwise. Safe when inactive."""
        self._halt()
        self._teardown()
        self.policy.reset()

    def release(self, why: str = "", *, timeout: float | None = None) -> None:
        """Deactivate for good, after the last zero has arrived.

        Wait for a step in progress, for `timeout` seconds at most. Safe to call again, also while another thread runs
        it.
        """
        with self._lock:
            self._halt(why)
            self._is_released = True
            if not self._is_destroyed:
                self._cmd_vel.flush()
        self._teardown(timeout)
        with self._lock:
            if not self._is_destroyed:
                self._is_destroyed = True
                self._in_executor(self._cmd_vel.destroy)
                for publisher in (self._action_publisher, self._overlay_publisher):
                    self._in_executor(self._node.destroy_publisher, publisher)

    def _halt(self, why: str = "") -> None:
        """Command zero; nothing else is commanded from now on."""
        with self._lock:
            thread, self._command_thread = self._command_thread, None
            if thread is not None:
                thread.stop()
            self._governor.deactivate()
            self._halt_at_once(why)
            if thread is not None:
                self._last_report = self.drive_report()
                self._node.get_logger().info(format_report(self._last_report))

    def _teardown(self, timeout: float | None = None) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            self._in_executor(self._node.destroy_subscription, subscription)
        inference, self._inference = self._inference, None
        if inference is not None:
            inference.stop(timeout)

    def _in_executor(self, destroy: Callable[..., object], *endpoint: object) -> None:
        """Schedule `destroy` in the executor: it fails if an endpoint vanishes while it builds its wait set."""
        self._node.executor.create_task(destroy, *endpoint)

    def enable(self, enabled: bool) -> None:
        """Enable motion, or stop (software e-stop): publish a zero before returning."""
        with self._lock:
            self._governor.enable(enabled)
            if not enabled:
                self._halt_at_once()

    def reset(self) -> None:
        inference = self._inference
        if inference is not None:
            inference.reset()

    def interpret(self, text: str) -> InterpretedText:
        """Return what `text` asks for."""
        return self._loop.interpret(text)

    def set_instruction(self, text: str) -> None:
        """Follow `text` from now on.

        Stop if it is blank or a stop phrase; stop with the reason if it is unusable.
        """
        instruction = self._loop.interpret(text)
        with self._lock:
            self._loop.set_instruction(instruction)

    def update_settings(self, settings: InferenceParameters) -> None:
        """Apply the parameters that may change while driving."""
        with self._lock:
            self._settings = settings
            self._governor.update_limits(
                settings.limits, image_timeout=settings.image_timeout, command_timeout=settings.command_timeout
            )
            inference = self._inference
            if inference is not None:
                inference.set_state_timeout(settings.state_timeout)

    def drive_report(self) -> dict[str, Any]:
        """Return the report of the present drive, or of the last one, for JSON."""
        with self._lock:
            if self._last_report is not None:
                return self._last_report
            report = drive_report(self._governor, self._timing, time.monotonic())
        report["counts"]["images refused"] = self._image_receiver.num_rejected
        return report

    @property
    def has_warnings(self) -> bool:
        """Return whether there is a warning about the model or camera that does not stop the robot."""
        config = self.policy.config
        return config.untrained or bool(config.assumed) or bool(config.reductions) or self._image_receiver.is_frozen

    def report(self) -> dict[str, object]:
        """Return the values for diagnostics: present values, and counts since activation."""
        now, action, governor = self._now(), self._action, self._governor
        return {
            "instruction": governor.instruction,
            "action": " ".join(f"{value:.3f}" for value in action.values) if action else "",
            "action age (s)": f"{now - action.stamp:.3f}" if action else "",
            "inference latency (s)": f"{action.latency:.3f}" if action else "",
            "frames in hidden state": action.state_step if action else 0,
            "same picture for (s)": f"{self._image_receiver.frozen_seconds:.1f}",
            "images refused": self._image_receiver.num_rejected,
            **governor.counts,
        }

    # Callbacks in the executor's thread.

    def _on_image(self, message: Image | CompressedImage) -> None:
        arrival, clock = time.monotonic(), self._now()
        decoded = self._image_receiver.decode(message)
        if decoded is None:
            return
        image, stamp = decoded
        with self._lock:
            key = self._governor.on_image(to_seconds(stamp), self._now())
        if key is None:
            why = "from the future, or older than the one before; synchronize the clocks of camera and robot"
            return self._image_receiver.reject(f"it is {why}")
        self._timing.on_image(clock - to_seconds(stamp))
        inference = self._inference
        if key.instruction and inference is not None:
            inference.submit(InferenceRequest(image, stamp, key, arrival))

    def _on_instruction(self, message: String) -> None:
        self.set_instruction(message.data)

    def _halt_at_once(self, why: str = "") -> None:
        """Command zero now, not at the next tick, if something stops the robot. Requires the lock.

        `why` becomes the detail of the reason.
        """
        decision = self._governor.halt(self._now())
        if decision is not None and not self._is_released:
            self._command(replace(decision, detail=why) if why else decision)

    def _command(self, decision: Decision) -> None:
        """Publish a decision. Requires the lock, so that no older command can follow."""
        self._cmd_vel.publish(decision.velocity)
        self._on_decision(decision)

    # Callback in the command thread.

    def _on_tick(self) -> None:
        with self._lock:
            # Skip a tick that waited for the lock during deactivation.
            if self._command_thread is not None:
                self._command(self._governor.tick(self._now()))
                self._timing.on_command(time.monotonic())

    # Callbacks in the inference thread.

    def _on_action(self, action: Action, request: InferenceRequest, waited: float) -> None:
        begin = time.monotonic()
        with self._lock:
            velocity = self._loop.on_action(action.values, request.key)
            end = time.monotonic()
            age = self._now() - action.stamp
            self._timing.on_step(StepTiming(action.latency, age, action.stamp, waited + end - begin), end)
            self._action = action
            if not velocity.is_finite:
                self._halt_at_once()
        self._action_publisher.publish(to_twist_stamped(velocity, request.stamp, self._settings.frame_id))
        if self._overlay_publisher.get_subscription_count():
            x, y, yaw = velocity.as_tuple()
            lines = (
                request.key.instruction,
                f"x {x:+.2f}  y {y:+.2f} m/s  yaw {yaw:+.2f} rad/s",
                f"{action.latency:.3f} s",
            )
            self._overlay_publisher.publish(
                to_image(draw_text(upscale_small(request.image), lines), request.stamp, self._settings.frame_id)
            )

    def _on_step_failed(self, why: str, request: InferenceRequest) -> None:
        self._node.get_logger().error(f"inference failed: {why}", throttle_duration_sec=5.0)
        with self._lock:
            self._governor.on_step_failed(why, request.key)
            self._halt_at_once()

    def _subscribe(self) -> None:
        camera = self._settings.camera
        self._subscriptions = [
            self._node.create_subscription(camera.type, camera.name, self._on_image, NEWEST_IMAGE),
            *subscribe_to_text(self._node, "instruction", self._on_instruction),
        ]

    def _now(self) -> float:
        return to_seconds(self._node.get_clock().now().to_msg())
