"""Helpers for subcommands that start nodes: the check for ROS 2, node parameters, and the node benchmark."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from simple_clip_lstm_ros.checkpoint.user_input import resolve_path
from simple_clip_lstm_ros.cli.options import overrides
from simple_clip_lstm_ros.errors import MissingLibraryError, SimpleClipLstmError, name_missing_extra


def missing_ros() -> str:
    """Return why no node can be started in this environment; "" if it can."""
    try:
        from simple_clip_lstm_ros.ros import process, status_publisher  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def require_ros() -> None:
    """Raise SimpleClipLstmError if no node can be started in this environment."""
    if reason := missing_ros():
        raise SimpleClipLstmError(
            f"ROS 2 is missing here ({reason}): source one (. /opt/ros/<distro>/setup.bash), or use `make demo` on "
            "x86-64 Linux, which installs it from pip into .venv"
        )


def node_parameters(args: argparse.Namespace, folder: Path, *, precision: str, engine: str) -> dict[str, object]:
    """Return the inference node's parameters that load the policy of `args`, trained or not.

    A config file for the node is written into `folder`.
    """
    config = folder / "config.yaml"
    config.write_text(json.dumps(overrides(args)))
    parameters: dict[str, object] = {
        "checkpoint": resolve_path(args.checkpoint).absolute(),
        "policy_config": config,
        "device": args.device,
        "precision": precision,
        "engine": engine,
        "memory_budget_gb": float(args.memory_budget_gb),
        "allow_untrained": "true",
    }
    return parameters | ({"processors": Path(args.processors).absolute()} if args.processors else {})


if TYPE_CHECKING:
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness

_CAMERA = {"width": 640, "height": 480}
_STEP_TIMEOUT = 120.0  # s for a step
_REPORTED = ("transport", "overhead", "latency", "tick_wait", "commands")


def benchmark_node(
    parameters: Mapping[str, object], steps: int, logs: Path, stepped: Callable[[], None]
) -> dict[str, Any]:
    """Measure delays around a step and the command rate, by image transport.

    Delays are in s (see control/timing.py). Runs a camera of 640x480 at 10 Hz, the node and the guard over real DDS.
    `first_action` counts from the request to configure. Raise SimpleClipLstmError if a node fails.
    """
    from simple_clip_lstm_ros.harness.node_harness import NodeHarness

    results = {}
    for transport in ("raw", "compressed"):
        with NodeHarness(
            {**parameters, "image_transport": transport}, threads=None, logs=logs, camera=_CAMERA
        ) as harness:
            harness.start()
            first = _wait_for_steps(harness, steps, stepped)
            report = harness.report()
            results[transport] = {
                "first_action": first - harness.start_time,
                **{name: report[name] for name in _REPORTED},
            }
    return results


def _wait_for_steps(harness: NodeHarness, steps: int, stepped: Callable[[], None]) -> float:
    """Wait for `steps` actions; return the arrival of the first (monotonic, s)."""
    harness.set_instruction("go to the box")
    arrivals: list[float] = []
    last, begin = None, time.monotonic()
    while len(arrivals) < steps:
        harness.spin_for(0.02)
        now = time.monotonic()
        if harness.action is not last:
            arrivals, last = [*arrivals, now], harness.action
            stepped()
        elif now - max([begin, *arrivals]) > _STEP_TIMEOUT:
            raise SimpleClipLstmError(f"the node took no step in {_STEP_TIMEOUT:g} s: {harness.reason}")
    return arrivals[0]


def bag_player() -> NoReturn:
    """Run the node bag_player: an entry point of `ros2 run`."""
    _run_node("bag_player", "harness.bag_player")


def bag_recorder() -> NoReturn:
    """Run the node bag_recorder: an entry point of `ros2 run`."""
    _run_node("bag_recorder", "recording.bag_recorder")


def dashboard() -> NoReturn:
    """Run the node dashboard: an entry point of `ros2 run`."""
    _run_node("dashboard", "dashboard.dashboard_node")


def _run_node(name: str, module: str) -> NoReturn:
    """Run `main` of a module whose library may be missing; exit with one line if it is."""
    try:
        with name_missing_extra(name):
            main = importlib.import_module(f"simple_clip_lstm_ros.{module}").main
    except MissingLibraryError as error:
        sys.exit(f"error: {error}")
    sys.exit(main())
