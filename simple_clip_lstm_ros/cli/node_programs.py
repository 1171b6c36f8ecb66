"""The programs of `ros2 run` whose nodes need an optional library; without it, one line says what to install."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from simple_clip_lstm_ros.errors import MissingLibraryError, name_missing_extra


def bag_player() -> NoReturn:
    with _ending_in_one_line("bag_player"):
        from simple_clip_lstm_ros.harness.bag_player import main
    main()


def bag_recorder() -> NoReturn:
    with _ending_in_one_line("bag_recorder"):
        from simple_clip_lstm_ros.recording.bag_recorder import main
    main()


def dashboard() -> NoReturn:
    with _ending_in_one_line("dashboard"):
        from simple_clip_lstm_ros.dashboard.dashboard_node import main
    main()


@contextmanager
def _ending_in_one_line(user: str) -> Iterator[None]:
    try:
        with name_missing_extra(user):
            yield
    except MissingLibraryError as error:
        sys.exit(f"error: {error}")
