"""Measure the recorder: resources, completeness of its bag, and the effect of recorder and dashboard on the node.

    python benchmarks/recording.py

Runs the real node with builtin:tiny, the guard, and a camera of photographs (640x480 raw, 10 images a second) as
separate processes: first alone, then with a recorder that keeps the last seconds, and a dashboard with a viewer, for
which the node draws its overlay. At the end the recorder writes its bag. Prints two Markdown tables; --json gives one
JSON document.
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
from dashboard import cpu_seconds, dashboard, describe_machine, driving, viewer
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger

from simple_clip_lstm_ros.harness.node_harness import NAMESPACE, NodeHarness

_RATE = 10.0  # Hz, of the camera
_SETTLE = 5.0  # s
_IMAGES = f"/{NAMESPACE}/image_raw/compressed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="that the recorder keeps, and that are measured")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # A domain of its own: no tests, other benchmarks or robots of this network.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
    with driving(640, 480) as harness:
        _restart_drive(harness)
        harness.spin_for(args.seconds)
        alone = _node_timing(harness)
    with (
        driving(640, 480) as harness,
        dashboard() as (_, address),
        tempfile.TemporaryDirectory() as folder,
        _recorder(folder, args.seconds) as recorder,
    ):
        recorded, watched = asyncio.run(_measure_recording(harness, address, recorder, args.seconds))
        recorded |= _write_bag(harness)
    if args.json:
        print(json.dumps({"recorder": recorded, "alone": alone, "watched": watched}, indent=2))
        return
    print(
        "| the recorder | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in recorded.items()), sep="\n"
    )
    print("\n| the node | alone | watched and recorded |\n|---|---|---|")
    print(*(f"| {name} | {alone[name]:.4g} | {watched[name]:.4g} |" for name in alone), sep="\n")
    print(f"\n{describe_machine()}")


def _restart_drive(harness: NodeHarness) -> None:
    """Start a new drive after all processes have started.

    Their start takes both cores of a small machine.
    """
    harness.spin_for(_SETTLE)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        if not harness.call_service(ChangeState, "inference/change_state", request).success:
            raise RuntimeError(f"the inference node did not restart with a fresh hidden state: {harness.reason}")


def _node_timing(harness: NodeHarness) -> dict[str, float]:
    """Return the node's own timing report (see control/timing.py)."""
    report = harness.report()
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


async def _measure_recording(
    harness: NodeHarness, address: str, recorder: psutil.Process, seconds: float
) -> tuple[dict[str, Any], dict[str, float]]:
    async with viewer(address):
        await asyncio.to_thread(_restart_drive, harness)
        before, used, begin = recorder.memory_info().rss, cpu_seconds(recorder), time.monotonic()
        await asyncio.to_thread(harness.spin_for, seconds)
        duration, after = time.monotonic() - begin, recorder.memory_info().rss
        recorded = {
            "resident at first (MB)": before / 1e6,
            "resident with all it keeps (MB)": after / 1e6,
            "CPU (% of a core)": (cpu_seconds(recorder) - used) / duration * 100.0,
        }
        return recorded, await asyncio.to_thread(_node_timing, harness)


def _write_bag(harness: NodeHarness) -> dict[str, Any]:
    """Make the recorder write its bag; return duration, size and contents.

    Raise RuntimeError if the recorder cannot write it.
    """
    begin = time.monotonic()
    response = harness.call_service(Trigger, "recorder/dump", Trigger.Request())
    duration = time.monotonic() - begin
    if not response.success:
        raise RuntimeError(response.message)
    path = Path(response.message.partition(": ")[0])
    with AnyReader([path]) as reader:
        images = [each for each in reader.connections if each.topic == _IMAGES]
        stamps = []
        for connection, _, raw in reader.messages(images):
            stamp = reader.deserialize(raw, connection.msgtype).header.stamp
            stamps.append(stamp.sec + stamp.nanosec * 1e-9)
        count = reader.message_count
    size = sum(file.stat().st_size for file in path.iterdir())
    return {
        "to write it (s)": duration,
        "its size (MB)": size / 1e6,
        "messages": count,
        "images": len(stamps),
        "images that the camera sent meanwhile": round((stamps[-1] - stamps[0]) * _RATE) + 1,
        "seconds": stamps[-1] - stamps[0],
    }


if __name__ == "__main__":
    main()
