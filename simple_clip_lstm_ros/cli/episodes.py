"""Show the statistics of a folder of recorded episodes (HDF5), and which episodes are useless for training.

The MAE of the mean and of the median are the errors of a policy that outputs a constant for every image: a policy that
is no better has learned nothing. With --from-bag, a bag is converted to episodes in the folder instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from simple_clip_lstm_ros.cli.options import add_json_option, add_rate_option, print_json, steps_progress
from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import ConfigError, EpisodeError, printable

if TYPE_CHECKING:
    from simple_clip_lstm_ros.data.dataset_stats import AxisStats, DatasetStats

_BAG_OPTIONS = ("image_topic", "command_topic", "instruction_topic", "rate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="DIR", type=Path, help="a folder of .h5 files, at any depth, or one such file")
    parser.add_argument("--from-bag", metavar="BAG", type=Path, help="make episodes of a bag (SQLite or MCAP) in DIR")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the bag: Image or CompressedImage")
    parser.add_argument("--command-topic", metavar="TOPIC", help="of the bag: Twist or TwistStamped")
    parser.add_argument(
        "--instruction-topic", metavar="TOPIC", help="of the bag: String; each new one begins an episode"
    )
    add_rate_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    if args.from_bag:
        _convert(args)
        return
    if any(getattr(args, name) is not None for name in _BAG_OPTIONS):
        raise ConfigError("topics and --rate are of a bag: name it with --from-bag")
    from simple_clip_lstm_ros.data.dataset_stats import find_episodes, summarize_dataset

    files = find_episodes(args.path)
    with steps_progress() as progress:
        task = progress.add_task("reading episodes", total=len(files))
        stats = summarize_dataset(files, on_file=lambda: progress.advance(task))
    if args.json:
        print_json({"path": str(args.path), **stats.as_plain()})
    else:
        _print_stats(args.path, stats)
    if not stats.episodes:
        raise EpisodeError(f"{args.path}: none of {len(files)} files could be read as an episode: each says why above")


def _convert(args: argparse.Namespace) -> None:
    if not args.image_topic or not args.command_topic:
        raise ConfigError("--from-bag needs --image-topic and --command-topic: what the camera and the driver sent on")
    from simple_clip_lstm_ros.data.bag_reader import convert_bag
    from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics

    topics = DriveTopics(args.image_topic, args.command_topic, args.instruction_topic)
    with steps_progress() as progress:
        task = progress.add_task("reading images", total=None)
        episodes = convert_bag(
            args.from_bag,
            args.path,
            topics,
            rate=args.rate,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if args.json:
        print_json({"bag": str(args.from_bag), "episodes": [str(path) for path in episodes]})
    else:
        for path in episodes:
            print(printable(str(path)))


def _print_stats(path: Path, stats: DatasetStats) -> None:
    console = make_console()
    if stats.episodes:
        rate = f" ({stats.frames / stats.duration:.2f} a second)" if stats.duration > 0.0 else ""
        units = ", ".join(f"{unit} ({count})" for unit, count in stats.units.items())
        head = f"{stats.episodes} episodes, {stats.frames} frames, {stats.duration:.1f} s{rate}; action units: {units}"
        console.print(printable(f"{path}: {head}"))
        console.print(_scenario_table(stats.scenarios))
    if stats.axes:
        console.print()
        console.print(_axis_table(stats.axes))
        console.print(f"{stats.still:.0%} of the frames command no motion at all")
    for line in _remarks(stats):
        console.print(printable(line))


def _scenario_table(scenarios: dict[str, int]) -> Table:
    table = new_table("", "scenario", "episodes")
    for name, count in sorted(scenarios.items()):
        table.add_row(name, str(count))
    return table


def _axis_table(axes: dict[str, AxisStats]) -> Table:
    table = new_table("", "axis", "mean", "std", "min", "max", "zero", "MAE of the mean", "MAE of the median")
    for name, axis in axes.items():
        values = (f"{axis.mean:+.3f}", f"{axis.std:.3f}", f"{axis.min:+.3f}", f"{axis.max:+.3f}")
        table.add_row(name, *values, f"{axis.zeros:.0%}", f"{axis.mean_error:.3f}", f"{axis.median_error:.3f}")
    return table


def _remarks(stats: DatasetStats) -> Iterator[str]:
    """Yield warnings about the figures, and what to do about degenerate and unreadable files."""
    if len(stats.units) > 1:
        yield "the episodes differ in the unit of their actions, and these figures mix them: look at one kind at a time"
    for file, why in stats.degenerate.items():
        yield f"degenerate: {file}: {', '.join(why)}"
    for message in stats.unreadable.values():
        yield f"unreadable: {message}"
