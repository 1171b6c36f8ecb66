"""Measure how fast a recorded drive is replayed, and whether two replays are equal.

    python benchmarks/replay.py

The bag has ten minutes: photographs of 640x480 as JPEG at 10 Hz, an instruction each half minute, commands at 20 Hz. It
runs `simple_clip_lstm replay` with builtin:tiny twice, each in its own process, with all plots and the video. Prints a
Markdown table; --json gives one JSON document.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore
from watch import machine

from simple_clip_lstm_ros.data.image_decoding import to_jpeg
from simple_clip_lstm_ros.policy.sample_images import iter_pan
from simple_clip_lstm_ros.recording.drive_recorder import write_bag
from simple_clip_lstm_ros.recording.ring_buffer import Channel, Message

_STORE = get_typestore(Stores.ROS2_HUMBLE)
_IMAGE = Channel("/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
_COMMAND = Channel("/cmd_vel_raw", "geometry_msgs/msg/Twist")
_TEXT = Channel("/instruction", "std_msgs/msg/String", is_latched=True)
_BEGIN = 1_700_000_000  # s
_PERIOD = 0.1  # s
_SIDES = ("left", "right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder, "bag")
        write_bag(bag, _drive(round(args.minutes * 60.0 / _PERIOD)), dict)
        size = sum(file.stat().st_size for file in bag.iterdir()) / 1e6
        first, second = (_run_replay(bag, Path(folder, str(number))) for number in range(2))
    result = {
        "minutes": args.minutes,
        "size of the bag (MB)": size,
        "times as fast": min(first[0], second[0]),
        "the same twice": first[1] == second[1],
        "steps": json.loads(first[1])["steps"],
    }
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print("| a replay | |", "|---|---|", *(f"| {name} | {value} |" for name, value in result.items()), sep="\n")
    print(f"\n{machine()}")


def _drive(count: int) -> Iterator[Message]:
    for number, photograph in zip(range(count), iter_pan()):  # noqa: B905 (the photographs never end)
        time = _BEGIN + number * _PERIOD
        if number % 300 == 0:
            side = _SIDES[number // 300 % 2]
            yield _message(_TEXT, time, data=f"go around the {side} side of the box and reach the cup")
        for half in range(2):
            yield _command(time + half * _PERIOD / 2)
        yield _image(time, photograph)


def _image(time: float, photograph: Any) -> Message:
    stamp = _make("builtin_interfaces/msg/Time", sec=int(time), nanosec=round(time % 1.0 * 1e9))
    header = _make("std_msgs/msg/Header", stamp=stamp, frame_id="camera")
    data = np.frombuffer(to_jpeg(cv2.resize(photograph, (640, 480)), 85), np.uint8)
    return _message(_IMAGE, time, header=header, format="jpeg", data=data)


def _command(time: float) -> Message:
    linear = _make("geometry_msgs/msg/Vector3", x=0.2, y=0.0, z=0.0)
    angular = _make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.5 * math.sin(time))
    return _message(_COMMAND, time, linear=linear, angular=angular)


def _message(channel: Channel, time: float, **content: Any) -> Message:
    data = _STORE.serialize_cdr(_make(channel.type, **content), channel.type)
    return Message(channel, round(time * 1e9), bytes(data))


def _make(kind: str, **content: Any) -> Any:
    return _STORE.types[kind](**content)


def _run_replay(bag: Path, out: Path) -> tuple[float, str]:
    """Replay `bag`; return the speed relative to real time, and the JSON document.

    Raise RuntimeError if the replay fails.
    """
    command = [sys.executable, "-m", "simple_clip_lstm_ros.cli.main", "replay", str(bag), "--checkpoint"]
    command += ["builtin:tiny", "--precision", "fp32", "--out", str(out)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    speed = re.search(r"([0-9.]+) times as fast", process.stderr)
    if process.returncode or speed is None:
        raise RuntimeError(process.stderr)
    return float(speed[1]), (out / "replay.json").read_text()


if __name__ == "__main__":
    main()
