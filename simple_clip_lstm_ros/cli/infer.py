"""Print an action for each frame of an image, a folder of images or a video, with the hidden state carried along."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simple_clip_lstm_ros.cli.frame_source import read_frames
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_json_option,
    add_policy_options,
    load_with_progress,
    print_json,
)
from simple_clip_lstm_ros.errors import printable

if TYPE_CHECKING:
    from simple_clip_lstm_ros.policy.policy import Action, Policy

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("--image", metavar="PATH", type=Path, required=True, help="an image, a folder or a video")
    parser.add_argument("--instruction", metavar="TEXT", default="go forward", help="default: %(default)s")
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    frames = read_frames(args.image)
    policy = load_with_progress(args)
    warn_about_policy(policy)
    axes = policy.config.action_axes
    results = []
    for name, frame in frames:
        action = policy.step(frame, args.instruction)
        values = dict(zip(axes, action.values, strict=True))
        results.append({"frame": name, "action": values, "latency": action.latency, "state_step": action.state_step})
        if not args.json:
            print(format_action(name, action, axes), flush=True)
    if args.json:
        print_json({"instruction": args.instruction, "untrained": policy.config.untrained, "frames": results})


def warn_about_policy(policy: Policy) -> None:
    """Log a warning if the policy is untrained or pruned."""
    if policy.config.untrained:
        logger.warning("these weights are untrained (random): the actions mean nothing")
    if policy.config.reductions:
        logger.warning("the model is pruned: %s; its actions differ from the whole model's", policy.config.reductions)


def format_action(frame: str, action: Action, axes: Sequence[str]) -> str:
    values = "  ".join(f"{axis} {value:+.4f}" for axis, value in zip(axes, action.values, strict=True))
    return printable(f"{frame}  {values}  {action.latency * 1e3:.0f} ms  step {action.state_step}")
