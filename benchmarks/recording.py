"""What the recorder takes, whether what it writes is complete, and what the node feels of it and of a dashboard.

    python benchmarks/recording.py

The real node with builtin:tiny and the guard, a camera of photographs, 640x480 raw, 10 images a second; each a process
of its own. First alone; then with a recorder that keeps the last seconds, and a dashboard with a viewer, for whom the
node draws its overlay. At the end the recorder is asked for its bag. Prints two Markdown tables; --json gives one JSON
document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from dashboard import cpu_seconds, dashboard, driving, viewer, where
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.harness.node_harness import NAMESPACE, NodeHarness

_RATE = 10.0  # Hz, of the camera
_SETTLE = 5.0  # s
_IMAGES = f"/{NAMESPACE}/image_raw/compressed"


def main() -> None:
    parser = argparse.ArgumentParser(info=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="that the recorder keeps, and that are measured")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # Tests, other benchmarks and robots of this network stay out.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
    with driving(640, 480) as stage:
        _begin(stage)
        stage.watch(args.seconds)
        alone = _felt(stage)
    with (
        driving(640, 480) as stage,
        dashboard() as (_, address),
        tempfile.TemporaryDirectory() as folder,
        _recorder(folder, args.seconds) as recorder,
    ):
        kept, watched = asyncio.run(_watched(stage, address, recorder, args.seconds))
        kept |= _asked(stage)
    if args.json:
        print(json.dumps({"recorder": kept, "alone": alone, "watched": watched}, indent=2))
        return
    print("| the recorder | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in kept.items()), sep="\n")
    print("\n| the node | alone | watched and recorded |\n|---|---|---|")
    print(*(f"| {name} | {alone[name]:.4g} | {watched[name]:.4g} |" for name in alone), sep="\n")
    print(f"\n{where()}")


def _begin(stage: NodeHarness) -> None:
    """A new drive, once all processes have started: to start takes both cores of a small machine."""
    stage.watch(_SETTLE)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        if not stage.call(ChangeState, "inference/change_state", request).success:
            raise RuntimeError(f"the inference node did not begin anew: {stage.reason}")


def _felt(stage: NodeHarness) -> dict[str, float]:
    """What the node itself reports of its drive: see control/timing.py."""
    report = stage.report()
    overhead, commands = report["overhead"], report["commands"]
    return {
        "overhead p50 (ms)": overhead["p50"] * 1e3,
        "overhead p99 (ms)": overhead["p99"] * 1e3,
        "commands (Hz)": commands["rate"],
        "commands on time (%)": commands["on_time"] * 100.0,
    }


@contextmanager
def _recorder(folder: str, seconds: float) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "simple_clip_lstm_ros.recording.bag_recorder", "--ros-args"]
    command += ["-r", f"__ns:=/{NAMESPACE}", "-p", f"folder:={folder}", "-p", f"last:={float(seconds)}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


async def _watched(
    stage: NodeHarness, address: str, recorder: psutil.Process, seconds: float
) -> tuple[dict[str, Any], dict[str, float]]:
    async with viewer(address):
        await asyncio.to_thread(_begin, stage)
        before, used, begin = recorder.memory_info().rss, cpu_seconds(recorder), time.monotonic()
        await asyncio.to_thread(stage.watch, seconds)
        took, after = time.monotonic() - begin, recorder.memory_info().rss
        kept = {
            "resident at first (MB)": before / 1e6,
            "resident with all it keeps (MB)": after / 1e6,
            "CPU (% of a core)": (cpu_seconds(recorder) - used) / took * 100.0,
        }
        return kept, await asyncio.to_thread(_felt, stage)


def _asked(stage: NodeHarness) -> dict[str, Any]:
    """Writing, and what was written. Raises RuntimeError where that fails."""
    begin = time.monotonic()
    answer = stage.call(Trigger, "recorder/dump", Trigger.Request())
    took = time.monotonic() - begin
    if not answer.success:
        raise RuntimeError(answer.message)
    path = Path(answer.message.partition(": ")[0])
    with AnyReader([path]) as reader:
        images = [each for each in reader.connections if each.topic == _IMAGES]
        stamps = []
        for connection, _, raw in reader.messages(images):
            stamp = reader.deserialize(raw, connection.msgtype).header.stamp
            stamps.append(stamp.sec + stamp.nanosec * 1e-9)
        count = reader.message_count
    size = sum(file.stat().st_size for file in path.iterdir())
    return {
        "to write it (s)": took,
        "its size (MB)": size / 1e6,
        "messages": count,
        "images": len(stamps),
        "images that the camera sent meanwhile": round((stamps[-1] - stamps[0]) * _RATE) + 1,
        "seconds": stamps[-1] - stamps[0],
    }


if __name__ == "__main__":
    main()
