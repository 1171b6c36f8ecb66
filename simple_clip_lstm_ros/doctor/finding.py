"""What a check found, and where it looked."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

_TIMEOUT = 90.0  # s; importing torch takes its time on a small machine


class Verdict(str, Enum):
    OK = "OK"
    WARN = "WARN"
    ERROR = "ERROR"  # it will not drive, or not safely
    SKIPPED = "SKIPPED"  # not looked at, and why


@dataclass(frozen=True)
class Finding:
    """`remedy` says what to do about a WARN or an ERROR."""

    check: str
    verdict: Verdict
    says: str
    remedy: str = ""


@dataclass(frozen=True)
class Host:
    """The machine that is looked at: its file system below `root`, and the environment of the processes to come."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def read(self, absolute: str) -> str:
        """The file's text without the blanks around it; empty where there is none that can be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip("\0 \n")
        except OSError:
            return ""

    @property
    def is_container(self) -> bool:
        return self.path("/.dockerenv").exists() or self.path("/run/.containerenv").exists()

    @property
    def is_jetson(self) -> bool:
        return self.path("/etc/nv_tegra_release").exists() or "Jetson" in self.read("/proc/device-tree/model")


class ProbeError(Exception):
    """What was tried did not work; the message is what it said last."""


def run_json(*words: str) -> Any:
    """The JSON document that Python with these words prints, in a process of its own: it may crash.

    Raises TrialError.
    """
    try:
        ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ProbeError(f"it did not end within {_TIMEOUT:g} s") from None
    if ran.returncode < 0:
        raise ProbeError(f"it crashed ({signal.Signals(-ran.returncode).name})")
    if ran.returncode:
        raise ProbeError(_last_line(ran.stderr) or f"exit code {ran.returncode}")
    return json.loads(ran.stdout.splitlines()[-1])


def _last_line(stderr: str) -> str:
    """The first line of the last exception, whose message may go on with advice; else the last line; or nothing."""
    raised = re.findall(r"^\w[\w.]*(?:Error|Exception)\b.*", stderr, re.MULTILINE)
    return (raised or stderr.strip().splitlines() or [""])[-1]
