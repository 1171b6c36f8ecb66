"""A node as a process: signals end it in order, and a dead callback ends it too."""

from __future__ import annotations

import faulthandler
import gc
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
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from simple_clip_lstm_ros.errors import SimpleClipLstmError, first_line

_JOIN_TIMEOUT = 1.0  # s
_SHUTDOWN_TIMEOUT = 8.0  # s


def run(make_node: Callable[[], Node]) -> NoReturn:
    """Spin the node until SIGINT, SIGTERM or SIGHUP, call its `stop` with a reason, and exit with 0.

    With 1, in one line, if it cannot be made with these parameters, or if a thread raised an error that is the user's
    to read; with 1 and a traceback if a callback or a thread raised any other, or if ROS hangs at the end. Python's own
    signal handlers, since rclpy's shut the context down first and no last zero could be published.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    # The one primitive that a signal handler may use while another handler is using it; an Event deadlocks there.
    ends: SimpleQueue[tuple[int, str]] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Except nohup's SIGHUP: that one is to be survived.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: ends.put((0, f"asked to end by {signal.Signals(number).name}")))
    # A living process with a dead thread would be a node that says nothing and does nothing.
    ending = threading.Event()
    threading.excepthook = lambda failed: None if ending.is_set() else _fail(ends, failed.exc_value)
    try:
        node = make_node()
    except SimpleClipLstmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    logging.getLogger("simple_clip_lstm_ros").addHandler(_RosLog(node))
    # rclpy's executor of many threads wakes several times for each callback and hands it from thread to thread: with a
    # model in the same process that made commands late by 0.2 s. What takes long has a thread of its own instead.
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    freeze_gc()
    spinner = threading.Thread(target=_spin, args=(executor, ends, ending), name="executor")
    spinner.start()
    exit_code, why = ends.get()
    ending.set()
    try:
        node.stop(why)
        # What is left is ROS's. An end that hangs there is none: then it is over, with a word on where each thread was.
        faulthandler.dump_traceback_later(_SHUTDOWN_TIMEOUT, exit=True)
        # Without waiting: of a transition under way nobody would hear the end.
        executor.shutdown(timeout_sec=0.0)
        spinner.join(_JOIN_TIMEOUT)
        node.destroy_node()
        rclpy.shutdown()
    except Exception:
        exit_code = 1
        get_logger(__name__).fatal(f"the end went wrong: {traceback.format_exc()}")
    finally:
        # A thread that still loads weights is left behind, and taking the interpreter apart with torch in it would
        # last seconds more, on a robot that waits.
        sys.stdout.flush()
        os._exit(exit_code)


def freeze_gc() -> None:
    """Have the garbage collector leave alone all that there is by now.

    Else it goes through every object of torch and the model now and then, which takes 0.3 s in which no other thread
    runs: on a robot, six commands. `gc.unfreeze()` undoes it before any of that is given back.
    """
    gc.collect()
    gc.freeze()


def _spin(executor: Executor, ends: SimpleQueue[tuple[int, str]], ending: threading.Event) -> None:
    try:
        executor.spin()
    except Exception as error:
        if not ending.is_set():  # an executor that is shut down may stumble
            _fail(ends, error)


def _fail(ends: SimpleQueue[tuple[int, str]], error: BaseException | None) -> None:
    told = str(error) if isinstance(error, SimpleClipLstmError) else "".join(traceback.format_exception(error))
    get_logger(__name__).fatal(f"the node ends: {told}")
    ends.put((1, f"{type(error).__name__}: {first_line(error) if error else ''}"))


class _RosLog(logging.Handler):
    """What the rooms below report by Python's logging, in the node's log."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        log = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        log(record.getMessage())
