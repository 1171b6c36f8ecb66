"""What the real node adds around the model, and whether commands keep their rate while the model computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.errors import SimpleClipLstmError

if TYPE_CHECKING:
    from simple_clip_lstm_ros.node.stage import Stage

_CAMERA = {"width": 640, "height": 480}
_PATIENCE = 120.0  # s, for a step
_SHOWN = ("transport", "overhead", "latency", "tick_wait", "commands")


def drive(parameters: Mapping[str, object], steps: int, logs: Path, stepped: Callable[[], None]) -> dict[str, Any]:
    """By image transport: seconds of what lies around a step (see control/cadence.py), and the rate of commands.

    A camera of 640x480 at 10 Hz, the node and the guard, over real DDS; `first_action` counts from the request to
    configure. Raises SimpleClipLstmError.
    """
    from simple_clip_lstm_ros.node.stage import Stage

    found = {}
    for transport in ("raw", "compressed"):
        given = {**parameters, "image_transport": transport}
        with Stage(given, threads=None, logs=logs, camera=_CAMERA) as stage:
            stage.start()
            first = _step(stage, steps, stepped)
            report = stage.report()
            found[transport] = {"first_action": first - stage.begun, **{name: report[name] for name in _SHOWN}}
    return found


def _step(stage: Stage, steps: int, stepped: Callable[[], None]) -> float:
    """Returns when the first action came, by the steady clock."""
    stage.instruct("go to the box")
    arrivals: list[float] = []
    last, begin = None, time.monotonic()
    while len(arrivals) < steps:
        stage.watch(0.02)
        now = time.monotonic()
        if stage.action is not last:
            arrivals, last = [*arrivals, now], stage.action
            stepped()
        elif now - max([begin, *arrivals]) > _PATIENCE:
            raise SimpleClipLstmError(f"the node took no step in {_PATIENCE:g} s: {stage.reason}")
    return arrivals[0]
