"""A node as a process: signals end it in order, and a dead callback ends it too."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import NoReturn

import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

_THREADS = 4  # a transition, the command timer, images, and services


def run(make_node: Callable[[], Node]) -> NoReturn:
    """Spin the node until SIGINT or SIGTERM, then call its `stop` and exit with 0; with 1 if a callback raised.

    Python's own signal handlers, since rclpy's shut the context down first and no last zero could be published.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    # The one primitive that a signal handler may use while another handler is using it; an Event deadlocks there.
    ends: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ends.put(0))
    node = make_node()
    logging.getLogger("simple_clip_lstm_ros").addHandler(_RosLog(node))
    executor = MultiThreadedExecutor(_THREADS)
    executor.add_node(node)
    spinner = threading.Thread(target=_spin, args=(executor, node, ends), name="executor")
    spinner.start()
    exit_code = ends.get()
    node.stop()
    executor.shutdown()
    spinner.join()
    node.destroy_node()
    rclpy.shutdown()
    # All is in order; taking the interpreter apart with torch in it would last seconds more, on a robot that waits.
    sys.stdout.flush()
    os._exit(exit_code)


def _spin(executor: MultiThreadedExecutor, node: Node, ends: SimpleQueue[int]) -> None:
    while True:
        try:
            return executor.spin()
        except rclpy_implementation.RCLError as error:
            # rclpy raises here when somebody asks for a transition that the present state does not have.
            node.get_logger().warning(f"a request was refused: {error}")
        except Exception:  # a living process with a dead executor would be a silent node
            node.get_logger().fatal(f"a callback failed, the node ends: {traceback.format_exc()}")
            return ends.put(1)


class _RosLog(logging.Handler):
    """What the rooms below report by Python's logging, in the node's log."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        log = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        log(record.getMessage())
