"""A ROS domain for one test alone, on this machine alone."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What keeps discovery on this machine.
LOCAL = {"ROS_LOCALHOST_ONLY": "1"}  # Humble
if os.environ.get("ROS_DISTRO") != "humble":
    LOCAL = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that no other run of these tests uses at the same time on this machine."""
    for domain in random.sample(range(1, 102), 101):
        with (Path(tempfile.gettempdir()) / f"simple_clip_lstm_test_domain_{domain}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
