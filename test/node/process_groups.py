"""Processes that `timeout` watches over, and how to end both."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any


def kill_group(leader: subprocess.Popen[Any]) -> None:
    """`timeout` leads a group of its own: killed alone, it would leave behind whom it watches over."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(10.0)
