"""Inference node: a managed (lifecycle) node that turns images and an instruction into velocities."""

from __future__ import annotations

import gc
import json
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from simple_clip_lstm_ros.checkpoint.bundle import fingerprint
from simple_clip_lstm_ros.checkpoint.load import load
from simple_clip_lstm_ros.checkpoint.plan import Plan, inspect_machine
from simple_clip_lstm_ros.checkpoint.user_input import read_overrides, resolve_path
from simple_clip_lstm_ros.control.decision import Decision
from simple_clip_lstm_ros.control.governor import Reason
from simple_clip_lstm_ros.control.velocity import ZERO
from simple_clip_lstm_ros.data.image_decoding import READER
from simple_clip_lstm_ros.engine.memory import clear_memory, read_memory
from simple_clip_lstm_ros.errors import Cancelled, ConfigError, SimpleClipLstmError, first_line
from simple_clip_lstm_ros.node import inference_parameters
from simple_clip_lstm_ros.node.drive_controller import DriveController
from simple_clip_lstm_ros.node.inference_parameters import InferenceParameters, startup_warnings
from simple_clip_lstm_ros.policy.ablation import find_ignored_inputs
from simple_clip_lstm_ros.policy.policy import warm_up
from simple_clip_lstm_ros.ros import parameters, process
from simple_clip_lstm_ros.ros.process import PeriodicThread
from simple_clip_lstm_ros.ros.status_publisher import StatusPublisher, StatusValues

_MEMORY_PERIOD = 0.5  # s
_TIMEOUT = 1.0  # s that the end of the process waits for a step in progress
_ERROR = TransitionCallbackReturn.ERROR
RCLError = rclpy_implementation.RCLError


class InferenceNode(LifecycleNodeMixin, Node):
    """Handles transitions, services, parameters and reports; a DriveController drives."""

    def __init__(self) -> None:
        Node.__init__(self, "inference")
        # Reentrant, to answer get_state during a transition; `_on_change_state` allows one transition at a time.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._in_transition = False
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._on_change_state
        parameters.declare_parameters(self, InferenceParameters, read_only=False)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._controller: DriveController | None = None
        self._enabled = True
        self._enable_lock = threading.Lock()
        self._failed = False
        self._ignored_inputs: list[str] | None = None
        self._memory: dict[str, object] = {}
        self._stopping = threading.Event()
        self._status = StatusPublisher(
            self, "inference", Decision(ZERO, Reason.INACTIVE, "not configured"), self._status_values
        )
        # A hanging GPU may never respond: query it in a thread of its own, without a lock.
        self._read_memory()
        PeriodicThread(_MEMORY_PERIOD, self._read_memory, "memory")
        self.create_service(SetBool, "inference/enable", self._on_enable)
        self.create_service(Trigger, "inference/reset", self._on_reset)
        self.create_service(Trigger, "inference/report", self._on_report)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("configure", self._configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("activate", self._configured.activate, undo=self._configured.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("deactivate", self._configured.deactivate, undo=self._release, otherwise=_ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("cleanup", self._clean_up, undo=self._release, otherwise=_ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def stop(self, why: str) -> None:
        """Command zero and cancel a load in progress, because the process ends."""
        self._stopping.set()
        self._release(why, timeout=_TIMEOUT)
        ended = Decision(ZERO, Reason.INACTIVE, why)
        if self._status.decision != ended:
            self.get_logger().info(str(ended))
            self._status.publish(ended)
        self._status.flush()

    def _attempt(
        self,
        what: str,
        act: Callable[[], None],
        undo: Callable[[], None],
        otherwise: TransitionCallbackReturn = TransitionCallbackReturn.FAILURE,
    ) -> TransitionCallbackReturn:
        """Run a transition; on an exception, undo it and publish the reason, since rclpy would swallow it.

        `otherwise`: FAILURE keeps the state before, ERROR leads to unconfigured.
        """
        try:
            act()
        except Exception as error:
            self._failed = True
            undo()
            is_expected = isinstance(error, SimpleClipLstmError)
            self.get_logger().error(f"{what} failed: {error if is_expected else traceback.format_exc()}")
            self._status.publish(Decision(ZERO, Reason.INACTIVE, f"{what} failed: {first_line(error)}"))
            return otherwise
        self._failed = False
        return TransitionCallbackReturn.SUCCESS

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        """Run a transition in its own thread, so that the node keeps responding.

        A model may load, or a step end, meanwhile. Parameters cannot change: the values that a transition reads still
        hold at its end.
        """
        if self._in_transition:
            self.get_logger().warning("a transition was refused: another is under way")
            response.success = False
            return response
        self._in_transition = True
        done = Future()
        threading.Thread(target=self._transit, args=(request, response, done), name="transition").start()
        await done
        self._in_transition = False
        return response

    def _transit(self, request: ChangeState.Request, response: ChangeState.Response, done: Future) -> None:
        try:
            self._change_state(request, response)
        except RCLError as error:  # the present state has no such transition; rclpy would send no response
            self.get_logger().warning(f"a transition was refused: {first_line(error)}")
            response.success = False
        done.set_result(None)
        self.executor.wake()

    @property
    def _configured(self) -> DriveController:
        assert self._controller is not None, "the lifecycle has no such transition before configure"
        return self._controller

    def _configure(self) -> None:
        current = inference_parameters.read_parameters(self)
        self.get_logger().info(f"loading {current.checkpoint}; images are read by {READER}")
        plan = self._plan(current)
        policy = load(plan, self._on_progress)
        with plan.oom_as_error():
            latency = warm_up(policy)
            self._ignored_inputs = find_ignored_inputs(policy, latency, lambda: self._on_progress(0, 0))
        for line in startup_warnings(current, policy, latency, self._ignored_inputs):
            self.get_logger().warning(line)
        process.freeze_gc()
        self._fingerprint = fingerprint(resolve_path(current.checkpoint))
        controller = DriveController(self, current, policy, on_decision=self._status.publish_on_change)
        with self._enable_lock:
            self._controller = controller
            controller.enable(self._enabled)
        if self._stopping.is_set():  # `stop` may have run before the controller was set
            raise Cancelled("asked to stop while loading")
        self._status.publish_on_change(Decision(ZERO, Reason.INACTIVE))

    def _clean_up(self) -> None:
        self._release()
        gc.unfreeze()
        clear_memory()

    def _plan(self, current: InferenceParameters) -> Plan:
        overrides = read_overrides(current.policy_config) | current.action_overrides
        processors, budget = current.processors or None, current.memory_budget_gb
        found = inspect_machine(current.checkpoint, processors, current.device, overrides, budget)
        plan = found.choose(current.precision, current.engine)
        self.get_logger().info(f"{plan.why}: needs {plan.estimate}, there are {plan.candidates.limit / 1e9:.1f} GB")
        return plan

    def _on_progress(self, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise Cancelled("asked to stop while loading")

    def _release(self, why: str = "", *, timeout: float | None = None) -> None:
        controller = self._controller
        if controller is not None:
            # Release it before the reference goes: `stop` may run meanwhile and must find it.
            controller.release(why, timeout=timeout)
            self._controller = None

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        with self._enable_lock:
            self._enabled = request.data
            controller = self._controller
            if controller is not None:
                controller.enable(request.data)
        response.success = True
        response.message = "enabled" if request.data else "disabled: the robot does not move until enabled again"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        controller = self._controller
        if controller is not None:
            controller.reset()
        response.success = True
        response.message = "the hidden state is cleared"
        return response

    def _on_report(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Respond with the report of the present drive, or of the last one, as JSON."""
        controller = self._controller
        response.success = controller is not None
        response.message = json.dumps(controller.drive_report()) if controller else "the node is not configured"
        return response

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._change(changes)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _change(self, changes: list[Parameter]) -> None:
        """Apply changed parameters; configure checks those set before it. Raise ConfigError."""
        parameters.check_not_deleted(InferenceParameters, changes)
        controller = self._controller
        if controller is None and not self._in_transition:
            return
        if not parameters.check_live(InferenceParameters, changes):
            return
        if self._in_transition or controller is None:
            raise ConfigError("a transition is under way; change parameters before or after it")
        new = inference_parameters.read_parameters(self, changes)
        is_instructed = any(change.name == "instruction" for change in changes)
        if is_instructed and (error := controller.interpret(new.instruction).error):
            raise ConfigError(f"instruction: {error}")
        controller.update_settings(new)
        if is_instructed:
            controller.set_instruction(new.instruction)

    def _status_values(self) -> StatusValues:
        controller = self._controller
        values = dict(self._memory)
        if controller is None:
            return StatusValues(values, failed=self._failed)
        config, checkpoint = controller.policy.config, self.get_parameter("checkpoint").value
        values |= {
            "checkpoint": checkpoint,
            "bundle sha256": self._fingerprint,
            "device": controller.policy.device,
            "precision": controller.policy.precision,
            "untrained": config.untrained,
            "features": " + ".join(config.features),
            "assumed": ", ".join(config.assumed),
            "cut": config.reductions,
            "ignores": "not tried: a step takes long"
            if self._ignored_inputs is None
            else ", ".join(self._ignored_inputs),
            **controller.report(),
        }
        return StatusValues(
            values, Path(checkpoint).name, controller.has_warnings or bool(self._ignored_inputs), self._failed
        )

    def _read_memory(self) -> None:
        controller = self._controller
        try:
            figures = read_memory(controller.policy.device if controller else None).figures()
        except Exception as error:  # a failed GPU raises; show that in the diagnostics
            self._memory = {"memory": first_line(error)}
        else:
            self._memory = {f"{owner} {kind} (MB)": size // 1_000_000 for owner, kind, size in figures}


def main() -> NoReturn:
    process.run(InferenceNode)


if __name__ == "__main__":
    main()
