"""Show which parts of an image and which words change the action.

Steps once on the unchanged image, then without each of its parts (blurred) and without each word, and computes what
each adds to the action: the table lists words and strongest parts, the plot shows all. Each step starts from a fresh
hidden state, as the first step of a drive does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    from simple_clip_lstm_ros.evaluation.occlusion import Explanation

_MAX_LISTED = 5  # parts in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument("image", metavar="IMAGE", type=Path, help="of a video or a folder, the first")
    parser.add_argument("instruction", metavar="TEXT")
    parser.add_argument("--out", metavar="PNG", type=Path, default="explanation.png", help="default: %(default)s")
    grid_help = "cells along each side of the image; few are quick; default: %(default)s"
    parser.add_argument("--grid", metavar="N", type=int, default=12, help=grid_help)
    add_policy_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> None:
    from simple_clip_lstm_ros.evaluation.occlusion import count_steps, draw_explanation, explain

    name, frame = next(read_frames(args.image))
    policy = load_with_progress(args)
    warn_about_policy(policy)
    with steps_progress() as progress:
        task = progress.add_task("stepping", total=count_steps(args.instruction, args.grid))
        explanation = explain(policy, frame, args.instruction, args.grid, lambda: progress.advance(task))
    draw_explanation(frame, args.instruction, explanation, args.out)
    if args.json:
        print_json({"image": name, "instruction": args.instruction, **_plain(explanation)})
        return
    console = make_console()
    console.print(_table(explanation))
    console.print(printable(f"the picture: {args.out}"))


def _plain(explanation: Explanation) -> dict[str, Any]:
    return {
        "action": explanation.action,
        "words": [{"word": word.word, **word.by_axis} for word in explanation.words],
        "other side": explanation.mirrored,
        "parts": {axis: added.tolist() for axis, added in explanation.heatmaps.items()},
    }


def _table(explanation: Explanation) -> Any:
    table = new_table("", "", *explanation.action)
    table.columns[1].justify = "left"
    table.add_row("action", "as instructed", *_signed(explanation.action))
    if explanation.mirrored is not None:
        table.add_row("", "told the other side", *_signed(explanation.mirrored), end_section=True)
    for word in explanation.words:
        table.add_row("word", printable(word.word), *_signed(word.by_axis))
    table.add_section()
    for where, added in _strongest_parts(explanation):
        table.add_row("part", where, *_signed(added))
    return table


def _signed(by_axis: dict[str, float]) -> list[str]:
    return [f"{value:+.3f}" for value in by_axis.values()]


def _strongest_parts(explanation: Explanation) -> list[tuple[str, dict[str, float]]]:
    """Return the strongest parts with their effect by axis.

    A part is named by its center, in percent of the image's width and height.
    """
    strength = np.sqrt(sum(added**2 for added in explanation.heatmaps.values()))
    grid = len(strength)
    ranked = np.argsort(strength, axis=None)[::-1][:_MAX_LISTED]
    cells = [np.unravel_index(index, strength.shape) for index in ranked]
    return [
        (
            f"{(column + 0.5) / grid:.0%} from the left, {(row + 0.5) / grid:.0%} from the top",
            {axis: float(added[row, column]) for axis, added in explanation.heatmaps.items()},
        )
        for row, column in cells
    ]
