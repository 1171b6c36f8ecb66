"""A second publisher on the instruction topic, with another text a thousand times a second, until it is terminated."""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
node = rclpy.create_node("flood")
publisher = node.create_publisher(String, "instruction", 10)
while publisher.get_subscription_count() < 1:
    time.sleep(0.01)
begun = Path(sys.argv[1]) / "flood"
begun.with_suffix(".new").write_text(repr(time.monotonic()))
os.replace(begun.with_suffix(".new"), begun)
start = time.monotonic()
for count in itertools.count(1):
    publisher.publish(String(data=f"go to cup {count}"))
    time.sleep(max(0.0, start + 0.001 * count - time.monotonic()))
