"""What a command that starts nodes needs: a ROS 2, and what it tells the inference node."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from simple_clip_lstm_ros.checkpoint.builtin import located
from simple_clip_lstm_ros.cli.options import overrides
from simple_clip_lstm_ros.errors import SimpleClipLstmError


def what_lacks() -> str:
    """Why no node can be started here; empty where it can."""
    try:
        from simple_clip_lstm_ros.node.stage import Stage  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def require_ros() -> None:
    """Raises SimpleClipLstmError where no node can be started."""
    if lacking := what_lacks():
        raise SimpleClipLstmError(
            f"ROS 2 is missing here ({lacking}): source one (. /opt/ros/<distro>/setup.bash), or use `make demo` on "
            "x86-64 Linux, which installs it from pip into .venv"
        )


def node_parameters(args: argparse.Namespace, folder: Path, *, precision: str, engine: str) -> dict[str, object]:
    """To load a policy as these options say, trained or not; `folder` takes a file that the node reads."""
    config = folder / "config.yaml"
    config.write_text(json.dumps(overrides(args)))
    given: dict[str, object] = {
        "checkpoint": located(args.checkpoint).absolute(),
        "policy_config": config,
        "device": args.device,
        "precision": precision,
        "engine": engine,
        "memory_budget_gb": float(args.memory_budget_gb),
        "allow_untrained": "true",
    }
    return given | ({"processors": Path(args.processors).absolute()} if args.processors else {})
