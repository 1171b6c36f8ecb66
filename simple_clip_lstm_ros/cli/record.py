"""Record drives from ROS topics as episodes (HDF5), until Ctrl-C.

At each image, the newest velocity command is its action. With --instruction-topic each new instruction begins an
episode and a blank one ends it; without, all is one episode. `simple_clip_lstm episodes DIR` tells what was recorded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simple_clip_lstm_ros.cli.options import add_rate_option
from simple_clip_lstm_ros.cli.ros import require_ros
from simple_clip_lstm_ros.errors import EpisodeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the files go; it must exist")
    parser.add_argument(
        "--image-topic",
        metavar="TOPIC",
        default="image_raw",
        help="default: %(default)s; or one ending in /compressed",
    )
    parser.add_argument("--command-topic", metavar="TOPIC", default="cmd_vel", help="default: %(default)s")
    parser.add_argument("--stamped", action="store_true", help="commands are TwistStamped and not Twist")
    parser.add_argument("--instruction-topic", metavar="TOPIC", help="of String, such as instruction")
    add_rate_option(parser)


def run(args: argparse.Namespace) -> None:
    require_ros()
    if not args.folder.is_dir():
        raise EpisodeError(f"{args.folder} is no folder: make it, or name another")
    from simple_clip_lstm_ros.data.following import Topics
    from simple_clip_lstm_ros.node import process
    from simple_clip_lstm_ros.node.recorder import Recorder

    topics = Topics(args.image_topic, args.command_topic, args.instruction_topic)
    process.run(lambda: Recorder(args.folder, topics, rate=args.rate, stamped=args.stamped))
