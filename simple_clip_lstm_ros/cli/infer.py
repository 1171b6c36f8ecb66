"""One action for each frame of an image, a folder of images or a video, with the hidden state carried along."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# What ffmpeg has to say of a file that is no video, the error says.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_json_option,
    add_policy_options,
    load_with_progress,
    print_json,
)
from simple_clip_lstm_ros.errors import InputError, printable

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
    warn_of(policy)
    axes = policy.config.action_axes
    results = []
    for name, frame in frames:
        action = policy.step(frame, args.instruction)
        values = dict(zip(axes, action.values, strict=True))
        results.append({"frame": name, "action": values, "latency": action.latency, "state_step": action.state_step})
        if not args.json:
            print(action_line(name, action, axes), flush=True)
    if args.json:
        print_json({"instruction": args.instruction, "untrained": policy.config.untrained, "frames": results})


def warn_of(policy: Policy) -> None:
    """What makes its actions others than those of a trained, whole model."""
    if policy.config.untrained:
        logger.warning("these weights are untrained (random): the actions mean nothing")
    if policy.config.reductions:
        logger.warning("the model is cut: %s; its actions are not those of the whole model", policy.config.reductions)


def action_line(frame: str, action: Action, axes: Sequence[str]) -> str:
    shown = "  ".join(f"{axis} {value:+.4f}" for axis, value in zip(axes, action.values, strict=True))
    return printable(f"{frame}  {shown}  {action.latency * 1e3:.0f} ms  step {action.state_step}")


def read_frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and uint8 RGB [height, width, 3] of each frame at `path`. Raises InputError, at once if nothing is there."""
    if path.is_dir():
        try:
            files = sorted(file for file in path.iterdir() if _is_image(file))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        if not files:
            raise InputError(f"{path} holds no image")
        return ((file.name, _read_image(file)) for file in files)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if _is_image(path):
        return iter([(path.name, _read_image(path))])
    return _read_video(path)


def _is_image(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # OpenCV 5.0 crashes on such a name
        raise InputError(f"the name {path} is not UTF-8; rename it") from None
    return cv2.haveImageReader(str(path))


def _read_image(path: Path) -> np.ndarray:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than OpenCV takes
        image = None
    if image is None:
        raise InputError(f"{path} is not an image that OpenCV can read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_video(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    capture = cv2.VideoCapture(str(path))
    if not capture.grab():
        raise InputError(f"{path} is neither an image nor a video that OpenCV can read")
    return _remaining_frames(capture, path.name)


def _remaining_frames(capture: cv2.VideoCapture, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """From the frame that was grabbed last to the end."""
    grabbed, index = True, 0
    while grabbed:
        read, frame = capture.retrieve()
        if not read:
            raise InputError(f"{name}#{index} cannot be decoded")
        yield f"{name}#{index}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        grabbed, index = capture.grab(), index + 1
