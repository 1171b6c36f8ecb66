"""Replay a recorded drive offline and compare this checkpoint's commands with the recorded ones.

BAG is a rosbag2 (SQLite or MCAP: its folder or file), or an episode (.h5). Its images and instructions go through the
model and the Governor, in the recording's time and as fast as possible; no ROS is needed. The same recording gives the
same commands. DIR/commands.png shows both over time, DIR/frames.png the frames where they differ most, DIR/drive.mp4
the whole drive; DIR/replay.json is for scripts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_clip_lstm_ros.cli.infer import warn_about_policy
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_action_scale_option,
    add_json_option,
    add_policy_options,
    load_with_progress,
    log_console,
    print_json,
    steps_progress,
)
from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import EpisodeError, printable

if TYPE_CHECKING:
    from rich.table import Table

    from simple_clip_lstm_ros.data.drive_events import RecordedDrive
    from simple_clip_lstm_ros.evaluation.replay import Replay
    from simple_clip_lstm_ros.evaluation.replay_config import ReplayConfig
    from simple_clip_lstm_ros.evaluation.replay_result import ReplayResult
    from simple_clip_lstm_ros.policy.policy import Policy

_MAX_LISTED = 5  # times of the largest differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="BAG", type=Path)
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", required=True, help=CHECKPOINT)
    parser.add_argument("--out", metavar="DIR", type=Path, default="replay", help="for the files; default: %(default)s")
    parser.add_argument("--instruction", metavar="TEXT", help="in place of those that were given")
    topics = parser.add_argument_group("for a bag with several")
    for what in ("image", "command", "instruction"):
        topics.add_argument(f"--{what}-topic", metavar="TOPIC")
    parser.add_argument(
        "--params",
        metavar="YAML",
        type=Path,
        help="the node's parameters, as config/inference.yaml; default: those recorded in the bag, else the node's own",
    )
    parser.add_argument("--latency", metavar="S", type=float, default=0.0, help="of each step; default: %(default)g")
    add_action_scale_option(parser)
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.evaluation.replay_config import ReplayConfig, read_ros_params
    from simple_clip_lstm_ros.evaluation.replay_plots import make_folder, write_files

    drive = _open_recording(args)
    parameters = drive.parameters if args.params is None else read_ros_params(args.params)
    config = ReplayConfig.from_parameters(parameters, args.latency)
    make_folder(args.out)
    policy = load_with_progress(args)
    warn_about_policy(policy)
    begin = time.perf_counter()
    replay, result = _replay(args, drive, config, policy)
    document = {
        "recording": str(args.recording),
        "checkpoint": str(args.checkpoint),
        "untrained": policy.config.untrained,
        "instruction": args.instruction,
        "compared with": drive.commands,
        "images": drive.images,
        "unreadable": replay.unreadable,
        "steps": replay.steps,
        "pauses": replay.pauses,
        "counts": dict(replay.governor.counts),
        **result.as_plain(),
    }
    write_files(args.out, result, document)
    duration = time.perf_counter() - begin
    if args.json:
        print_json(document)
        return
    console = make_console()
    console.print(_reason_table(document), _difference_table(document), sep="\n")
    _print_summary(console, args, document, duration)


def _open_recording(args: argparse.Namespace) -> RecordedDrive:
    from simple_clip_lstm_ros.data.drive_events import BagDrive, EpisodeDrive, TopicSelection
    from simple_clip_lstm_ros.data.hdf5 import SUFFIX

    drive: RecordedDrive
    if not args.recording.exists():
        raise EpisodeError(f"{args.recording} does not exist")
    if args.recording.suffix == SUFFIX:
        drive = EpisodeDrive(args.recording, args.instruction, args.action_scale)
    else:
        topics = TopicSelection(args.image_topic, args.command_topic, args.instruction_topic)
        drive = BagDrive(args.recording, topics)
    if not drive.has_instruction and args.instruction is None:
        raise EpisodeError(f"{args.recording} has no instruction in it: give one with --instruction TEXT")
    return drive


def _replay(
    args: argparse.Namespace, drive: RecordedDrive, config: ReplayConfig, policy: Policy
) -> tuple[Replay, ReplayResult]:
    from simple_clip_lstm_ros.data.drive_events import ImageEvent
    from simple_clip_lstm_ros.evaluation.replay import Replay
    from simple_clip_lstm_ros.evaluation.replay_plots import VIDEO, VideoWriter
    from simple_clip_lstm_ros.evaluation.replay_result import ReplayResult

    replay = Replay(policy, config, args.instruction)
    result = ReplayResult(tuple(config.limits.max_velocity))
    with steps_progress() as progress, VideoWriter(args.out / VIDEO) as video:
        task = progress.add_task("replaying", total=drive.images)

        def events() -> Any:
            for event in drive:
                yield event
                progress.advance(task, isinstance(event, ImageEvent))

        for tick in replay.run(events()):
            video.write_tick(tick, result.add_tick(tick))
    return replay, result


def _reason_table(document: dict[str, Any]) -> Table:
    table = new_table("", "replayed, s", "times", "recorded, s", "times")
    replayed, recorded = document["reasons"]["replayed"], document["reasons"]["recorded"]
    for name in [*replayed, *(name for name in recorded if name not in replayed)]:
        reason_durations = [side.get(name) for side in (replayed, recorded)]
        cells = [(f"{s['seconds']:.1f}", str(s["times"])) if s else ("", "") for s in reason_durations]
        table.add_row(name, *cells[0], *cells[1])
    return table


def _difference_table(document: dict[str, Any]) -> Table:
    table = new_table("", "mean difference", "largest", "at, s", "same direction")
    for axis, difference in document["differences"].items():
        direction = difference["same direction"]
        shown = f"{direction:.0%}" if direction == direction else ""
        table.add_row(
            axis, f"{difference['mean']:.3f}", f"{difference['largest']:.3f}", f"{difference['largest at']:.1f}", shown
        )
    return table


def _print_summary(console: Any, args: argparse.Namespace, document: dict[str, Any], duration: float) -> None:
    compared = document["compared with"]
    comparison = f"compared with {compared}" if compared else "no command was recorded to compare with"
    seconds = document["seconds"]
    console.print(printable(f"{seconds:.1f} s, {document['steps']} steps on {document['images']} images; {comparison}"))
    for what, words in (("unreadable", "images could not be read"), ("pauses", "pauses of over 5 s were left out")):
        if document[what]:
            console.print(f"{document[what]} {words}")
    worst = sorted(document["largest"], key=lambda each: -each["apart"])[:_MAX_LISTED]
    if worst:
        at = ", ".join(f"{each['time']:.1f}" for each in worst)
        console.print(f"they differ most at {at} s")
    console.print(printable(f"pictures: {args.out}/commands.png, frames.png, drive.mp4; for scripts: replay.json"))
    log_console.print(f"replayed in {duration:.1f} s, {seconds / duration:.1f} times as fast as it was", soft_wrap=True)
