"""The inference node: a managed (lifecycle) node from images and an instruction to velocities."""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from simple_clip_lstm_ros.checkpoint.load import load
from simple_clip_lstm_ros.checkpoint.overrides import read_overrides
from simple_clip_lstm_ros.checkpoint.plan import Plan, survey
from simple_clip_lstm_ros.control.governor import Decision, Reason
from simple_clip_lstm_ros.control.velocity import ZERO
from simple_clip_lstm_ros.engine.memory import clear_memory, read_memory
from simple_clip_lstm_ros.engine.warm_up import warm_up
from simple_clip_lstm_ros.errors import Cancelled, SimpleClipLstmError, first_line
from simple_clip_lstm_ros.node import process, settings
from simple_clip_lstm_ros.node.driver import LATCHED, Driver
from simple_clip_lstm_ros.node.images import READER
from simple_clip_lstm_ros.node.messages import to_diagnostics
from simple_clip_lstm_ros.policy.policy import Policy

_DIAGNOSTICS_PERIOD = 0.5
# An action is one step old when it comes and must last until the next: two steps, and a margin for the way of the
# image and for steps that take longer than the one measured.
_COMMAND_TIMEOUT_STEPS = 2.5


class InferenceNode(LifecycleNodeMixin, Node):
    """Transitions, services, parameters and reports; the Driver does the driving."""

    def __init__(self) -> None:
        Node.__init__(self, "inference")
        # Transitions in a group of their own: services and parameters answer while gigabytes load.
        LifecycleNodeMixin.__init__(self, callback_group=MutuallyExclusiveCallbackGroup())
        settings.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._driver: Driver | None = None
        self._enabled = True
        self._stopping = threading.Event()
        self._reasons = self.create_publisher(String, "inference/reason", LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The stop must not wait for an image that is being converted.
        group = MutuallyExclusiveCallbackGroup()
        self.create_service(SetBool, "inference/enable", self._on_enable, callback_group=group)
        self.create_service(Trigger, "inference/reset", self._on_reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self._tell(Decision(ZERO, Reason.INACTIVE, "not configured"))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("configure", self._configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("activate", self._configured.activate, undo=self._configured.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._configured.deactivate()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        clear_memory()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def stop(self) -> None:
        """The process ends: a load under way gives up, the robot is told zero."""
        self._stopping.set()
        self._release()

    def _attempt(self, what: str, act: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        """A transition that either succeeds or leaves no trace but its reason; rclpy would swallow the exception."""
        try:
            act()
        except Exception as error:
            undo()
            expected = isinstance(error, SimpleClipLstmError)
            self.get_logger().error(f"{what} failed: {error if expected else traceback.format_exc()}")
            self._tell(Decision(ZERO, Reason.INACTIVE, f"{what} failed: {first_line(error)}"))
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    @property
    def _configured(self) -> Driver:
        assert self._driver is not None, "the lifecycle has no such transition before configure"
        return self._driver

    def _configure(self) -> None:
        current = settings.read(self)
        self.get_logger().info(f"loading {current.checkpoint}; images are read by {READER}")
        policy = load(self._plan(current), self._on_progress)
        latency = warm_up(policy)
        self._warn(current, policy, latency)
        self._driver = Driver(self, current, policy, announce=self._announce)
        # After the assignment: a stop that came while the weights were loading must not be lost.
        self._driver.enable(self._enabled)
        self._announce(Decision(ZERO, Reason.INACTIVE))

    def _plan(self, current: settings.Settings) -> Plan:
        overrides = read_overrides(current.policy_config) | current.action_overrides
        processors, budget = current.processors or None, current.memory_budget_gb
        plan = survey(current.checkpoint, processors, current.device, overrides, budget).choose(current.precision)
        self.get_logger().info(f"{plan.why}: needs {plan.need}, there are {plan.limit / 1e9:.1f} GB")
        return plan

    def _on_progress(self, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Cancelled("asked to stop while loading")

    def _warn(self, current: settings.Settings, policy: Policy, latency: float) -> None:
        """What a user must know before the robot moves."""
        warn = self.get_logger().warning
        if policy.config.untrained:
            moves = "the robot moves on them" if current.allow_untrained else "the robot will not move"
            warn(f"the weights are untrained (random): {moves}")
        if policy.config.assumed:
            warn(
                f"neither the checkpoint nor policy_config states {', '.join(policy.config.assumed)}; "
                "`simple_clip_lstm inspect` shows what is assumed instead"
            )
        if policy.config.reductions:
            warn(f"the model is cut: {policy.config.reductions}; its actions are not those of the whole model")
        needed = _COMMAND_TIMEOUT_STEPS * latency
        if needed > current.command_timeout:
            needed = math.ceil(needed * 10.0) / 10.0
            speed = max(abs(v) for v in (*current.max_velocity[:2], *current.min_velocity[:2]))
            warn(
                f"a step takes {latency:.2f} s and actions go stale after {current.command_timeout:g} s: set "
                f"command_timeout to {needed:g}; the robot then drives up to {speed * needed:.2f} m blind"
            )

    def _release(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.release()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if self._driver is not None:
            self._driver.enable(request.data)
        response.success = True
        response.message = "enabled" if request.data else "disabled: the robot stands until enabled again"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._driver is not None:
            self._driver.reset()
        response.success = True
        response.message = "the hidden state is cleared"
        return response

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        ours = [parameter.name for parameter in parameters if parameter.name in settings.NAMES]
        if ours and self._driver is not None:
            reason = f"{ours[0]} takes effect at configure: deactivate and clean up first"
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _announce(self, decision: Decision) -> None:
        if str(decision) != str(self._decision):
            self.get_logger().info(str(decision))
            self._tell(decision)

    def _tell(self, decision: Decision) -> None:
        self._decision = decision
        self._reasons.publish(String(data=str(decision)))
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        driver, decision = self._driver, self._decision
        values = _memory_values(driver)
        hardware, doubts = "", False
        if driver is not None:
            config, checkpoint = driver.policy.config, self.get_parameter("checkpoint").value
            hardware = Path(checkpoint).name
            doubts = config.untrained or bool(config.assumed) or bool(config.reductions)
            values |= {
                "checkpoint": checkpoint,
                "device": driver.policy.device,
                "precision": driver.policy.precision,
                "untrained": config.untrained,
                "features": " + ".join(config.features),
                "assumed": ", ".join(config.assumed),
                "cut": config.reductions,
                **driver.report(),
            }
        now = self.get_clock().now().to_msg()
        name = f"{self.get_fully_qualified_name().lstrip('/')}: inference"
        self._diagnostics.publish(
            to_diagnostics(name, hardware, decision.reason, str(decision), values, now, doubts=doubts)
        )


def _memory_values(driver: Driver | None) -> dict[str, object]:
    try:
        memory = read_memory(driver.policy.device if driver else None)
    except Exception as error:  # a GPU that has failed answers nothing more, and that is to be told
        return {"memory": first_line(error)}
    return {f"{owner} {kind} (MB)": size // 1_000_000 for owner, kind, size in memory.figures()}


def main() -> NoReturn:
    process.run(InferenceNode)


if __name__ == "__main__":
    main()
