"""An inference node brought up as the launch file does, by whoever has a node of its own."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import Executor


def bring_up(node: Any, executor: Executor, namespace: str = "") -> None:
    """Configured and activated; `executor` spins `node`."""
    client = node.create_client(ChangeState, f"{namespace}/inference/change_state")
    assert client.wait_for_service(30.0)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        asked = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        executor.spin_until_future_complete(asked, 30.0)
        assert asked.result().success
