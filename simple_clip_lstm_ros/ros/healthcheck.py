"""Check whether a node is healthy, for a container's health check: `healthcheck [NODE] [--namespace NAME]`.

Reads the node's diagnostics, since a process that lives may still be silent. The exit code is 0 if they arrive without
an ERROR, else 1, with the reason in one line. A frozen camera is reported but is not unhealthy.
"""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

_TIMEOUT = 8.0  # s: discovery takes up to three, diagnostics come twice a second


def read_status(node: str) -> DiagnosticStatus | None:
    """Return the newest diagnostic status of the node with this full name; None if it is silent.

    Requires an initialized rclpy.
    """
    found: list[DiagnosticStatus] = []
    prefix = f"{node.strip('/')}: "

    def on_diagnostics(message: DiagnosticArray) -> None:
        found.extend(status for status in message.status if status.name.startswith(prefix))

    listener = Node("healthcheck")
    listener.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
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
        status = read_status(name)
    finally:
        rclpy.shutdown()
    if status is None:
        sys.exit(f"unhealthy: {name.strip('/')} has published no diagnostics for {_TIMEOUT:g} s")
    if status.level == DiagnosticStatus.ERROR:
        sys.exit(f"unhealthy: {status.message}")
    print(status.message)


if __name__ == "__main__":
    main()
