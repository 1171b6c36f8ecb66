"""The power mode of a Jetson, on which its speed depends."""

from __future__ import annotations

import shutil
import subprocess


def power_mode() -> str | None:
    """Its name and number, as `15W 2`; None where there is none."""
    tool = shutil.which("nvpmodel")
    if tool is None:
        return None
    told = subprocess.run([tool, "-q"], capture_output=True, text=True, timeout=10, check=False).stdout
    return " ".join(told.replace("NV Power Mode:", "").split()) or None
