"""What the real node adds around the model, and whether commands keep their rate while the model computes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.errors import SimpleClipLstmError

if TYPE_CHECKING:
    from simple_clip_lstm_ros.node.stage import Stage

_CAMERA = {"width": 640, "height": 480}
_PATIENCE = 600.0  # s, for all steps
_SHOWN = ("transport", "overhead", "latency", "tick_wait", "commands")


def what_lacks() -> str:
    """Why no node can be started here; empty where it can."""
    try:
        from simple_clip_lstm_ros.node.stage import Stage  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def drive(
    parameters: Mapping[str, object], config: Mapping[str, Any], steps: int, stepped: Callable[[], None]
) -> dict[str, Any]:
    """By image transport: seconds of what lies around a step (see control/cadence.py), and the rate of commands.

    A camera of 640x480 at 10 Hz, the node and the guard, over real DDS. Raises SimpleClipLstmError.
    """
    from simple_clip_lstm_ros.node.stage import Stage

    found = {}
    for transport in ("raw", "compressed"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "config.yaml").write_text(json.dumps(config))
            given = {**parameters, "policy_config": folder / "config.yaml", "image_transport": transport}
            given |= {"allow_untrained": "true"}
            stage = stack.enter_context(Stage(given, threads=None, logs=folder, camera=_CAMERA))
            stage.start()
            _step(stage, steps, stepped)
            report = stage.report()
            found[transport] = {name: report[name] for name in _SHOWN}
    return found


def _step(stage: Stage, steps: int, stepped: Callable[[], None]) -> None:
    stage.instruct("go to the box")
    seen, last, deadline = 0, None, time.monotonic() + _PATIENCE
    while seen < steps:
        stage.watch(0.02)
        if stage.action is not last:
            seen, last = seen + 1, stage.action
            stepped()
        if time.monotonic() > deadline:
            raise SimpleClipLstmError(f"the node took only {seen} steps in {_PATIENCE:g} s: {stage.reason}")
