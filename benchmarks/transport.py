"""Measure loss and latency of camera images within one machine, by default and with config/fastdds.xml.

    python benchmarks/transport.py

A camera and a listener run as two processes with 30 images a second, best effort, depth 1 as the inference node
subscribes. Prints a Markdown table; latency is from the image's stamp to the callback. Settings in the environment
(ROS_AUTOMATIC_DISCOVERY_RANGE, ROS_LOCALHOST_ONLY, RMW_IMPLEMENTATION) apply to both processes. --json gives the rows
as one JSON document.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from watch import machine

PROFILE = Path(__file__).parents[1] / "config" / "fastdds.xml"
# The first is read up to Jazzy, the second by newer ROS.
VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
RAW = {"raw 640x480": (640, 480), "raw 1280x720": (1280, 720)}
JPEG = "JPEG 1280x720"
IMAGES = (*RAW, JPEG)
# Name -> profiles of the camera and of the listener.
PROFILES = {"nowhere": (None, None), "listener": (None, PROFILE), "camera": (PROFILE, None), "both": (PROFILE, PROFILE)}

_RATE = 30.0
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_TIMEOUT = 20.0  # s for discovery
_SETTLE = 0.5  # s; images in the first 0.5 s are not counted, and the last images get 0.5 s to arrive


@dataclass
class Row:
    """One row of the table; its fields are JSON keys."""

    profile: str
    image: str
    megabytes: float
    sent: int
    received: int
    p50: float | None  # ms
    p99: float | None
    rate: float  # images a second, as the camera managed

    @property
    def loss(self) -> float:
        return 1.0 - self.received / self.sent

    def __str__(self) -> str:
        latencies = " | ".join("" if ms is None else f"{ms:.1f}" for ms in (self.p50, self.p99))
        counts = f"{self.rate:.1f} | {self.sent} | {self.received} | {self.loss:.1%}"
        return f"| {self.profile} | {self.image} | {self.megabytes:.2f} | {counts} | {latencies} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row")
    parser.add_argument("--json", action="store_true")
    # For the child processes of this script.
    parser.add_argument("--child", choices=("camera", "listener"), help=argparse.SUPPRESS)
    parser.add_argument("--image", choices=IMAGES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return {"camera": _camera, "listener": _listener}[args.child](args)
    rows = []
    if not args.json:
        print("| profile loaded by | image | MB | images/s | sent | received | lost | p50 ms | p99 ms |")
        print("|---|---|---|---|---|---|---|---|---|")
    for where, (camera, listener) in PROFILES.items():
        for image in IMAGES:
            rows.append(measure(image, args.seconds, camera, listener, name=where))
            if not args.json:
                print(rows[-1], flush=True)
    if args.json:
        print(json.dumps([asdict(row) | {"loss": row.loss} for row in rows], indent=2))
    else:
        print(f"\n{_describe_machine()}")


def measure(
    image: str,
    seconds: float,
    camera_profile: Path | None,
    listener_profile: Path | None,
    *,
    name: str = "",
    domain: int | None = None,
) -> Row:
    """Measure one row. Raise RuntimeError if the processes do not discover each other."""
    environment = {variable: value for variable, value in os.environ.items() if variable not in VARIABLES}
    environment["ROS_DOMAIN_ID"] = str(domain or random.randint(1, 101))
    command = [sys.executable, __file__, "--image", image, "--seconds", str(seconds)]
    children = []
    try:
        for kind, profile in (("listener", listener_profile), ("camera", camera_profile)):
            children.append(
                subprocess.Popen(
                    [*command, "--child", kind],
                    env=environment | {variable: str(profile) for variable in VARIABLES if profile},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        listener, camera = children
        camera_output = camera.communicate(timeout=seconds + 2 * _TIMEOUT)[0]
        listener_output = listener.communicate(timeout=_TIMEOUT)[0]  # closes its stdin; then it prints its result
    finally:
        for child in children:
            child.kill()
    if camera.returncode or listener.returncode:
        raise RuntimeError(f"no images: exit codes {camera.returncode} (camera) and {listener.returncode} (listener)")
    sent, latencies = _result(camera_output), _result(listener_output)
    counted = [ms for number, ms in latencies if number >= sent["first"]]
    return Row(
        profile=name,
        image=image,
        megabytes=sent["bytes"] / 1e6,
        sent=sent["count"],
        received=len(counted),
        p50=statistics.median(counted) if counted else None,
        p99=sorted(counted)[int(0.99 * (len(counted) - 1))] if counted else None,
        rate=sent["rate"],
    )


def _result(output: str) -> Any:
    """Return the JSON of the last line; print the other lines on stderr.

    Fast DDS writes its errors to stdout too.
    """
    *errors, result = output.splitlines()
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return json.loads(result)


def _describe_machine() -> str:
    hardware, *_, date = machine().split("; ")
    wheels = {"Fast DDS": "ros-fastrtps", "rmw_fastrtps": "ros-rmw-fastrtps-cpp", "rclpy": "ros-rclpy"}
    versions = ", ".join(f"{name} {_version(package)}" for name, package in wheels.items())
    limit = Path("/proc/sys/net/core/rmem_max").read_text().strip()
    return (
        f"{hardware}; Linux {platform.release()}, rmem_max {limit}; {versions}, "
        f"Python {platform.python_version()}; {date}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed by a ROS distribution and not as a wheel
        return "of the system"


# The child processes.


def _camera(args: argparse.Namespace) -> None:
    rclpy.init()
    node = rclpy.create_node("camera")
    message = _jpeg() if args.image == JPEG else _raw(*RAW[args.image])
    publisher = node.create_publisher(type(message), "image_raw", _QOS)
    deadline = time.monotonic() + _TIMEOUT
    while not publisher.get_subscription_count():
        if time.monotonic() > deadline:
            sys.exit("nobody listens")
        time.sleep(0.02)
    warmup = int(_SETTLE * _RATE)
    total = warmup + int(args.seconds * _RATE)
    begin = time.monotonic()
    for number in range(total):
        time.sleep(max(0.0, begin + number / _RATE - time.monotonic()))
        message.header.frame_id = str(number)
        message.header.stamp = node.get_clock().now().to_msg()
        seconds = time.monotonic() - begin
        publisher.publish(message)
    time.sleep(_SETTLE)
    count = total - warmup
    print(json.dumps({"first": warmup, "count": count, "bytes": len(message.data), "rate": (total - 1) / seconds}))
    rclpy.shutdown()


def _raw(width: int, height: int) -> Image:
    message = Image(width=width, height=height, encoding="rgb8", step=width * 3)
    message.data = array.array("B", bytes(width * height * 3))
    return message


def _jpeg() -> CompressedImage:
    import cv2

    from simple_clip_lstm_ros.policy.sample_images import sample_crops

    (photograph,) = sample_crops(1, size=(270, 480))
    _, encoded = cv2.imencode(".jpg", cv2.resize(photograph, (1280, 720), interpolation=cv2.INTER_CUBIC))
    message = CompressedImage(format="jpeg")
    message.data = array.array("B", encoded.tobytes())
    return message


def _listener(args: argparse.Namespace) -> None:
    """Receive images and print their latencies (ms) when stdin ends.

    The callback does almost nothing, so that images are lost in transport only.
    """
    rclpy.init()
    node = rclpy.create_node("listener")
    arrivals: list[tuple[str, int, Any]] = []  # number, time in ns, stamp

    def on_image(image: Image | CompressedImage) -> None:
        arrivals.append((image.header.frame_id, time.time_ns(), image.header.stamp))

    node.create_subscription(CompressedImage if args.image == JPEG else Image, "image_raw", on_image, _QOS)
    stopping = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stopping.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    while not stopping.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    latencies = [(int(name), (at - stamp.sec * 10**9 - stamp.nanosec) / 1e6) for name, at, stamp in arrivals]
    print(json.dumps(latencies))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
