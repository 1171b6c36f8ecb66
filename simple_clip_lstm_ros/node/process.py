"""A node as a process: signals end it in order, and a dead callback ends it too."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections.abc import Callable

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

_THREADS = 4  # a transition, the command timer, images, and services


def run(make_node: Callable[[], Node]) -> int:
    """Spin the node until SIGINT or SIGTERM, then call its `stop`; the exit code is 1 if a callback raised.

    Python's own signal handlers, since rclpy's shut the context down first and no last zero could be published.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    node = make_node()
    logging.getLogger("simple_clip_lstm_ros").addHandler(_RosLog(node))
    executor = MultiThreadedExecutor(_THREADS)
    executor.add_node(node)
    failures: list[BaseException] = []

    def spin() -> None:
        try:
            _spin(executor, node, ended)
        except Exception as error:  # a living process with a dead executor would be a silent node
            node.get_logger().fatal(f"a callback failed, the node ends: {traceback.format_exc()}")
            failures.append(error)
        ended.set()

    spinner = threading.Thread(target=spin, name="executor")
    spinner.start()
    ended.wait()
    node.stop()
    executor.shutdown()
    spinner.join()
    node.destroy_node()
    rclpy.shutdown()
    return 1 if failures else 0


def _spin(executor: MultiThreadedExecutor, node: Node, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            executor.spin()
        except rclpy_implementation.RCLError as error:
            # rclpy raises here when somebody asks for a transition that the present state does not have.
            node.get_logger().warning(f"a request was refused: {error}")
        except (ExternalShutdownException, InvalidHandle):
            return


class _RosLog(logging.Handler):
    """What the rooms below report by Python's logging, in the node's log."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        log = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        log(record.getMessage())
