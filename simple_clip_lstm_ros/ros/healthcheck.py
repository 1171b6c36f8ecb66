"""Is a node well? For a container's health check: `healthcheck [NODE] [--namespace NAME]`.

It asks the node's diagnostics: a process that lives may yet say nothing. Exit code 0 where they come and tell no ERROR,
else 1, and the word in one line. A camera that stands still is told, and is no fault of the container.
"""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

_TIMEOUT = 8.0  # s: discovery takes up to three, diagnostics come twice a second


def diagnosed(node: str) -> DiagnosticStatus | None:
    """What the node with this full name last said of itself; None if it says nothing. Needs an initialised rclpy."""
    found: list[DiagnosticStatus] = []
    prefix = f"{node.strip('/')}: "

    def take(message: DiagnosticArray) -> None:
        found.extend(status for status in message.status if status.name.startswith(prefix))

    listener = Node("healthcheck")
    listener.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
    end = time.monotonic() + _TIMEOUT
    while not found and time.monotonic() < end:
        rclpy.spin_once(listener, timeout_sec=0.1)
    listener.destroy_node()
    return found[-1] if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("node", metavar="NODE", nargs="?", default="inference", help="default: %(default)s")
    parser.add_argument("--namespace", metavar="NAME", default="")
    args = parser.parse_args()
    name = f"{args.namespace}/{args.node}"
    rclpy.init(args=[])
    try:
        status = diagnosed(name)
    finally:
        rclpy.shutdown()
    if status is None:
        sys.exit(f"unhealthy: {name.strip('/')} has said nothing for {_TIMEOUT:g} s")
    if status.level == DiagnosticStatus.ERROR:
        sys.exit(f"unhealthy: {status.message}")
    print(status.message)


if __name__ == "__main__":
    main()
