"""Record drives from ROS topics into DIR, until Ctrl-C: as a bag (MCAP), or as episodes (HDF5).

A bag contains images, instruction, action, commands, reasons and diagnostics; Foxglove, ros2 bag and `simple_clip_lstm
replay` open it. With --last only that many seconds are kept, in memory, and written when the robot is stopped by a
person or by the guard, or when the service recorder/dump is called.

An episode contains images and, for each, the newest velocity command: `simple_clip_lstm train` learns from these. With
--instruction-topic each new instruction begins an episode and a blank one ends it; without it, everything is one
episode. `simple_clip_lstm episodes DIR` shows what was recorded, and converts a bag to episodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from simple_clip_lstm_ros.cli.options import add_rate_option
from simple_clip_lstm_ros.cli.ros import require_ros
from simple_clip_lstm_ros.errors import ConfigError, EpisodeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the files go; it must exist")
    parser.add_argument("--format", choices=("mcap", "hdf5"), default="mcap", help="default: %(default)s")
    parser.add_argument(
        "--image-topic",
        metavar="TOPIC",
        default="image_raw",
        help="default: %(default)s; or one ending in /compressed",
    )
    bags = parser.add_argument_group("for bags")
    bags.add_argument("--last", metavar="S", type=float, help="keep only so many seconds; default: the whole drive")
    bags.add_argument("--memory-mb", metavar="MB", type=float, help="at most, for what is kept; default: 128")
    bags.add_argument("--namespace", metavar="NAME", help="of the robot's topics, such as robot1")
    episodes = parser.add_argument_group("for episodes")
    episodes.add_argument("--command-topic", metavar="TOPIC", help="default: cmd_vel")
    episodes.add_argument(
        "--stamped", action="store_true", default=None, help="commands are TwistStamped and not Twist"
    )
    episodes.add_argument("--instruction-topic", metavar="TOPIC", help="of String, such as instruction")
    add_rate_option(episodes)


def run(args: argparse.Namespace) -> None:
    _check_format(args)
    require_ros()
    if not args.folder.is_dir():
        raise EpisodeError(f"{args.folder} is not a folder; create it or choose another")
    if args.format == "mcap":
        _record_bags(args)
    else:
        _record_episodes(args)


def _check_format(args: argparse.Namespace) -> None:
    other_options = {
        "mcap": ("command_topic", "stamped", "instruction_topic", "rate"),
        "hdf5": ("last", "memory_mb", "namespace"),
    }
    for name in other_options[args.format]:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is not for --format {args.format}; --help tells what is")


def _record_bags(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.recording.bag_recorder import BagRecorder
    from simple_clip_lstm_ros.ros import process
    from simple_clip_lstm_ros.ros.camera_topic import split_transport

    image_topic, image_transport = split_transport(args.image_topic)
    parameters = {
        "folder": str(args.folder),
        "image_topic": image_topic,
        "image_transport": image_transport,
        "last": args.last,
        "memory_mb": args.memory_mb,
    }
    parameters = {name: value for name, value in parameters.items() if value is not None}
    process.run(lambda: BagRecorder(parameters, args.namespace))


def _record_episodes(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics
    from simple_clip_lstm_ros.recording.episode_recorder import EpisodeRecorder
    from simple_clip_lstm_ros.ros import process

    topics = DriveTopics(args.image_topic, args.command_topic or "cmd_vel", args.instruction_topic)
    process.run(lambda: EpisodeRecorder(args.folder, topics, rate=args.rate, stamped=bool(args.stamped)))
