"""A node as a process: signals stop it in order, a failed callback stops it too; and threads with a fixed rate."""

from __future__ import annotations

import faulthandler
import gc
import logging
import math
import os
import signal
import sys
import threading
import time
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
    """Spin the node until SIGINT, SIGTERM or SIGHUP, call its `stop(reason)`, exit with 0.

    Exit with 1 and one line if the node cannot be constructed with these parameters, or if a thread raised a
    SimpleClipLstmError. Exit with 1 and a traceback if a callback or thread raised another error, or if ROS hangs at
    shutdown. The signal handlers are Python's, since rclpy's shut the context down before the last zero is published.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    # A signal handler may interrupt another: SimpleQueue is the only primitive that allows it; an Event deadlocks.
    exits: SimpleQueue[tuple[int, str]] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # With nohup the process must survive SIGHUP.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: exits.put((0, f"stopped by {signal.Signals(number).name}")))
    # End the process when a thread dies: otherwise the node would live on without output.
    is_ending = threading.Event()
    threading.excepthook = lambda failed: None if is_ending.is_set() else _fail(exits, failed.exc_value)
    try:
        node = make_node()
    except SimpleClipLstmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    logging.getLogger("simple_clip_lstm_ros").addHandler(_RosLog(node))
    # rclpy's multi-threaded executor wakes several times per callback and passes it between threads: with a model in
    # the same process commands were 0.2 s late. Long tasks have threads of their own instead.
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    freeze_gc()
    spinner = threading.Thread(target=_spin, args=(executor, exits, is_ending), name="executor")
    spinner.start()
    exit_code, why = exits.get()
    is_ending.set()
    try:
        node.stop(why)
        # Only ROS shutdown is left. If it hangs, dump all stacks and exit.
        faulthandler.dump_traceback_later(_SHUTDOWN_TIMEOUT, exit=True)
        # Do not wait for a transition in progress: its response would reach no client.
        executor.shutdown(timeout_sec=0.0)
        spinner.join(_JOIN_TIMEOUT)
        node.destroy_node()
        rclpy.shutdown()
    except Exception:
        exit_code = 1
        get_logger(__name__).fatal(f"the end went wrong: {traceback.format_exc()}")
    finally:
        # Exit at once: a thread may still load weights, and the interpreter's shutdown with torch would take seconds
        # more.
        sys.stdout.flush()
        os._exit(exit_code)


def freeze_gc() -> None:
    """Exclude all present objects from garbage collection.

    A full collection visits every object of torch and the model. This takes 0.3 s, the time of six commands, and blocks
    all threads. Call `gc.unfreeze()` before releasing these objects.
    """
    gc.collect()
    gc.freeze()


def _spin(executor: Executor, exits: SimpleQueue[tuple[int, str]], is_ending: threading.Event) -> None:
    try:
        executor.spin()
    except Exception as error:
        if not is_ending.is_set():  # the executor may raise while it shuts down
            _fail(exits, error)


def _fail(exits: SimpleQueue[tuple[int, str]], error: BaseException | None) -> None:
    text = str(error) if isinstance(error, SimpleClipLstmError) else "".join(traceback.format_exception(error))
    get_logger(__name__).fatal(f"the node stops: {text}")
    exits.put((1, f"{type(error).__name__}: {first_line(error) if error else ''}"))


class _RosLog(logging.Handler):
    """Forwards Python's logging of the other packages to the node's log."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        log = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        log(record.getMessage())


_MAX_SLEEP = 0.1  # s; a sleeping thread ends within this after `stop`


class PeriodicThread:
    """Thread that calls `callback` once per `period` until `stop`, first after one period.

    `period` is in seconds of the steady clock. Missed periods are skipped, not made up for. `callback` may still run
    when `stop` returns.
    """

    def __init__(self, period: float, callback: Callable[[], None], name: str) -> None:
        self._period = period
        self._callback = callback
        self._is_stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        self._is_stopped = True

    def _run(self) -> None:
        due = time.monotonic() + self._period
        while not self._is_stopped:
            # Do not wait for an Event: before Python 3.11 that uses the wall clock, which may jump.
            if (left := due - time.monotonic()) > 0.0:
                time.sleep(min(left, _MAX_SLEEP))
                continue
            self._callback()
            due += self._period * max(1, math.ceil((time.monotonic() - due) / self._period))
