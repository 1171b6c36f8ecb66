"""Show the robot in a browser, with an instruction box and a stop button, until Ctrl-C.

It talks to the nodes `inference` and `velocity_guard` over ROS, on any machine. From other machines (--host) the page
needs the token in the address that is printed at the start. It is not an emergency stop: it does not cut the motors'
power.
"""

from __future__ import annotations

import argparse

from simple_clip_lstm_ros.cli.ros import require_ros

# Options that are not given keep the node's default, or the value of the ROS arguments.
_PARAMETERS = ("host", "port", "token", "image_topic", "image_transport", "enable_stamped_cmd_vel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="ADDRESS", help="to listen on, 0.0.0.0 for all; default: 127.0.0.1")
    parser.add_argument("--port", metavar="N", type=int, help="of the page; default: 8088")
    parser.add_argument("--token", metavar="TOKEN", help="default: none on this machine, else a new one")
    parser.add_argument("--namespace", metavar="NAME", help="of the robot's topics, such as robot1")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the camera; default: image_raw")
    parser.add_argument("--image-transport", choices=("raw", "compressed"), help="default: raw")
    parser.add_argument(
        "--enable-stamped-cmd-vel", action="store_true", default=None, help="cmd_vel is TwistStamped and not Twist"
    )


def run(args: argparse.Namespace) -> None:
    require_ros()
    from simple_clip_lstm_ros.dashboard.dashboard_node import Dashboard
    from simple_clip_lstm_ros.ros import process

    parameters = {name: getattr(args, name) for name in _PARAMETERS if getattr(args, name) is not None}
    process.run(lambda: Dashboard(parameters, args.namespace))
