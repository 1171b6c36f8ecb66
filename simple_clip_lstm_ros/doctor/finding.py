"""The result of a check, the host that is checked, and probes in a subprocess."""

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
    """The outcome of a check."""

    OK = "OK"
    WARN = "WARN"
    ERROR = "ERROR"  # it will not drive, or not safely
    SKIPPED = "SKIPPED"  # not checked; `says` gives the reason


@dataclass(frozen=True)
class Finding:
    """The result of one check; `remedy` says how to fix a WARN or an ERROR."""

    check: str
    verdict: Verdict
    says: str
    remedy: str = ""


@dataclass(frozen=True)
class Host:
    """The checked machine: its file system below `root`, and the environment of new processes."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def path(self, absolute: str) -> Path:
        """Return an absolute path as one below `root`."""
        return self.root / absolute.lstrip("/")

    def read_text(self, absolute: str) -> str:
        """Return the file's text without surrounding blanks and NULs; "" if it cannot be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip("\0 \n")
        except OSError:
            return ""

    @property
    def is_container(self) -> bool:
        return self.path("/.dockerenv").exists() or self.path("/run/.containerenv").exists()

    @property
    def is_jetson(self) -> bool:
        return self.path("/etc/nv_tegra_release").exists() or "Jetson" in self.read_text("/proc/device-tree/model")


class ProbeError(Exception):
    """A probe that failed; the message is its last output."""


def run_json(*words: str) -> Any:
    """Run Python with `words` as arguments and return the JSON document that it prints.

    It runs in a separate process because it may crash. Raise ProbeError if it fails or takes longer than 90 s.
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
    """Return the first line of the last exception, else the last line, else "".

    The lines after the first often are advice.
    """
    raised = re.findall(r"^\w[\w.]*(?:Error|Exception)\b.*", stderr, re.MULTILINE)
    return (raised or stderr.strip().splitlines() or [""])[-1]
