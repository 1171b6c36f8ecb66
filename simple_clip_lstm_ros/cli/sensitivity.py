"""Check whether this model uses the image, the instruction and its hidden state.

Steps through the frames unchanged, and again with the image blanked, shuffled or swapped, the instruction changed,
negated, emptied or scrambled, and the hidden state reset for each frame; prints how far the actions change, and a
verdict. Frames are photographs, or your own: test a model on images of the camera that it was trained with.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from simple_clip_lstm_ros.cli.frame_source import read_frames
from simple_clip_lstm_ros.cli.infer import warn_about_policy
from simple_clip_lstm_ros.cli.options import (
    CHECKPOINT,
    add_json_option,
    add_policy_options,
    load_with_progress,
    print_json,
    steps_progress,
)
from simple_clip_lstm_ros.cli.tables import make_console, new_table
from simple_clip_lstm_ros.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from simple_clip_lstm_ros.policy.ablation import AblationEffect

_UNRELATED = "turn around and drive away"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument(
        "--image", metavar="PATH", type=Path, help="a folder of images or a video, in place of photographs"
    )
    parser.add_argument("--instruction", metavar="TEXT", help="one that the model was trained on")
    parser.add_argument("--frames", metavar="N", type=int, default=16, help="at most; default: %(default)s")
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.policy.ablation import INSTRUCTION, ablate, format_verdict, num_passes
    from simple_clip_lstm_ros.policy.sample_images import sample_crops
    from simple_clip_lstm_ros.sim.instructions import swap_left_right

    source = (frame for _, frame in read_frames(args.image)) if args.image else sample_crops(args.frames)
    frames = list(islice(source, max(args.frames, 0)))
    policy = load_with_progress(args)
    warn_about_policy(policy)
    with steps_progress() as progress:
        task = progress.add_task("stepping", total=len(frames) * num_passes())
        instruction = args.instruction or INSTRUCTION
        other = swap_left_right(instruction)
        if other == " ".join(instruction.split()):
            other = _UNRELATED
        effects = ablate(policy, frames, instruction, other, stepped=lambda: progress.advance(task))
    verdict = format_verdict(effects)
    if args.json:
        document = {"instruction": instruction, "frames": len(frames), "untrained": policy.config.untrained}
        print_json(document | {"effects": [asdict(effect) for effect in effects], "verdict": verdict})
        return
    console = make_console()
    console.print(_table(effects))
    console.print(printable(verdict))


def _table(effects: list[AblationEffect]) -> Table:
    axes = effects[0].by_axis
    table = new_table("", "RMS change of the action by", "", *axes, "share of it")
    table.columns[1].justify = "left"
    for effect in effects:
        values = (f"{value:.4f}" for value in effect.by_axis.values())
        table.add_row(effect.sense, effect.change, *values, f"{effect.share:.1%}")
    return table
