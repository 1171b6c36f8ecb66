"""What a folder of recorded episodes (HDF5) holds: statistics of the actions, and which episodes teach nothing.

The errors of a constant are what a policy scores that answers every image with the mean or the median: one that is no
better has learnt nothing. With --from-bag, episodes are made of a bag and written into the folder instead.
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

_OF_BAGS = ("image_topic", "command_topic", "instruction_topic", "rate")


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
    if any(getattr(args, name) is not None for name in _OF_BAGS):
        raise ConfigError("topics and --rate are of a bag: name it with --from-bag")
    from simple_clip_lstm_ros.data.dataset_stats import find_episodes, summarize_dataset

    files = find_episodes(args.path)
    with steps_progress() as progress:
        task = progress.add_task("reading episodes", total=len(files))
        found = summarize_dataset(files, on_file=lambda: progress.advance(task))
    if args.json:
        print_json({"path": str(args.path), **found.as_plain()})
    else:
        _show(args.path, found)
    if not found.episodes:
        raise EpisodeError(f"{args.path}: none of {len(files)} files could be read as an episode: each says why above")


def _convert(args: argparse.Namespace) -> None:
    if not args.image_topic or not args.command_topic:
        raise ConfigError("--from-bag needs --image-topic and --command-topic: what the camera and the driver sent on")
    from simple_clip_lstm_ros.data.bag_reader import convert_bag
    from simple_clip_lstm_ros.data.episode_segmenter import DriveTopics

    topics = DriveTopics(args.image_topic, args.command_topic, args.instruction_topic)
    with steps_progress() as progress:
        task = progress.add_task("reading images", total=None)
        made = convert_bag(
            args.from_bag,
            args.path,
            topics,
            rate=args.rate,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if args.json:
        print_json({"bag": str(args.from_bag), "episodes": [str(path) for path in made]})
    else:
        for path in made:
            print(printable(str(path)))


def _show(path: Path, found: DatasetStats) -> None:
    console = make_console()
    if found.episodes:
        rate = f" ({found.frames / found.duration:.2f} a second)" if found.duration > 0.0 else ""
        units = ", ".join(f"{unit} ({count})" for unit, count in found.units.items())
        head = f"{found.episodes} episodes, {found.frames} frames, {found.duration:.1f} s{rate}; action units: {units}"
        console.print(printable(f"{path}: {head}"))
        console.print(_scenario_table(found.scenarios))
    if found.axes:
        console.print()
        console.print(_axis_table(found.axes))
        console.print(f"{found.still:.0%} of the frames command no motion at all")
    for line in _remarks(found):
        console.print(printable(line))


def _scenario_table(scenarios: dict[str, int]) -> Table:
    table = new_table("", "scenario", "episodes")
    for name, count in sorted(scenarios.items()):
        table.add_row(name, str(count))
    return table


def _axis_table(axes: dict[str, AxisStats]) -> Table:
    table = new_table("", "axis", "mean", "std", "min", "max", "zero", "MAE of the mean", "MAE of the median")
    for name, axis in axes.items():
        spread = (f"{axis.mean:+.3f}", f"{axis.std:.3f}", f"{axis.min:+.3f}", f"{axis.max:+.3f}")
        table.add_row(name, *spread, f"{axis.zeros:.0%}", f"{axis.mean_error:.3f}", f"{axis.median_error:.3f}")
    return table


def _remarks(found: DatasetStats) -> Iterator[str]:
    """What must be known of the figures, and what is to be done about files."""
    if len(found.units) > 1:
        yield "the episodes differ in the unit of their actions, and these figures mix them: look at one kind at a time"
    for file, why in found.degenerate.items():
        yield f"degenerate: {file}: {', '.join(why)}"
    for message in found.unreadable.values():
        yield f"unreadable: {message}"
