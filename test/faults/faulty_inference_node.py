"""The real inference node, whose steps go wrong on request: `faulty_inference_node.py SWITCH --ros-args ...`."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from switch import Switch

from simple_clip_lstm_ros.node import inference_node
from simple_clip_lstm_ros.policy.policy import Policy

_SWITCH = Switch(Path(sys.argv.pop(1)))
_step = Policy.step
_ballast: list[bytearray] = []


def step(policy: Policy, frame, instruction, stamp=0.0):
    state, _, argument = _SWITCH.state.partition(" ")
    if state == "sleep":
        _SWITCH.happened()
        time.sleep(float(argument))
    if state == "grow":
        _ballast.append(bytearray(b"x") * int(argument))
    action = _step(policy, frame, instruction, stamp)
    if state == "raise":
        _SWITCH.happened()
        raise RuntimeError("injected")
    if state == "value":
        _SWITCH.happened()
        return dataclasses.replace(action, values=(float(argument), *action.values[1:]))
    # At twice the limits on both axes: the robot is to have something to lose.
    return dataclasses.replace(action, values=(0.6, 1.6))


Policy.step = step  # type: ignore[method-assign]

if __name__ == "__main__":
    inference_node.main()
