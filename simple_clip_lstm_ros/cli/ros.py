"""What a command that starts nodes needs: a ROS 2, and what it tells the inference node."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.options import overrides
from simple_clip_lstm_ros.errors import SimpleClipLstmError


def missing_ros() -> str:
    """Why no node can be started here; empty where it can."""
    try:
        from simple_clip_lstm_ros.harness.node_harness import NodeHarness  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def require_ros() -> None:
    """Raises SimpleClipLstmError where no node can be started."""
    if lacking := missing_ros():
        raise SimpleClipLstmError(
            f"ROS 2 is missing here ({lacking}): source one (. /opt/ros/<distro>/setup.bash), or use `make demo` on "
            "x86-64 Linux, which installs it from pip into .venv"
        )


def node_parameters(args: argparse.Namespace, folder: Path, *, precision: str, engine: str) -> dict[str, object]:
    """To load a policy as these options say, trained or not; `folder` takes a file that the node reads."""
    config = folder / "config.yaml"
    config.write_text(json.dumps(overrides(args)))
    given: dict[str, object] = {
        "checkpoint": resolve_path(args.checkpoint).absolute(),
        "policy_config": config,
        "device": args.device,
        "precision": precision,
        "engine": engine,
        "memory_budget_gb": float(args.memory_budget_gb),
        "allow_untrained": "true",
    }
    return given | ({"processors": Path(args.processors).absolute()} if args.processors else {})


if TYPE_CHECKING:
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness

_CAMERA = {"width": 640, "height": 480}
_STEP_TIMEOUT = 120.0  # s, for a step
_SHOWN = ("transport", "overhead", "latency", "tick_wait", "commands")


def benchmark_node(
    parameters: Mapping[str, object], steps: int, logs: Path, stepped: Callable[[], None]
) -> dict[str, Any]:
    """By image transport: seconds of what lies around a step (see control/timing.py), and the rate of commands.

    A camera of 640x480 at 10 Hz, the node and the guard, over real DDS; `first_action` counts from the request to
    configure. Raises SimpleClipLstmError.
    """
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness

    found = {}
    for transport in ("raw", "compressed"):
        given = {**parameters, "image_transport": transport}
        with NodeHarness(given, threads=None, logs=logs, camera=_CAMERA) as stage:
            stage.start()
            first = _wait_for_step(stage, steps, stepped)
            report = stage.report()
            found[transport] = {"first_action": first - stage.begun, **{name: report[name] for name in _SHOWN}}
    return found


def _wait_for_step(stage: NodeHarness, steps: int, stepped: Callable[[], None]) -> float:
    """Returns when the first action came, by the steady clock."""
    stage.instruct("go to the box")
    arrivals: list[float] = []
    last, begin = None, time.monotonic()
    while len(arrivals) < steps:
        stage.spin_for(0.02)
        now = time.monotonic()
        if stage.action is not last:
            arrivals, last = [*arrivals, now], stage.action
            stepped()
        elif now - max([begin, *arrivals]) > _STEP_TIMEOUT:
            raise SimpleClipLstmError(f"the node took no step in {_STEP_TIMEOUT:g} s: {stage.reason}")
    return arrivals[0]
