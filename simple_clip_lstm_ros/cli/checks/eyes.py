"""Cameras that are plugged into this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from simple_clip_lstm_ros.cli.checks.finding import Finding, Here, TrialError, Verdict, tried

_LOOK = """
import json, sys
from simple_clip_lstm_ros.cli.camera import open_camera
from simple_clip_lstm_ros.errors import SimpleClipLstmError
told = {"problem": ""}
try:
    name, frame = open_camera(sys.argv[1]).next()
    told["size"] = f"{frame.shape[1]} x {frame.shape[0]}"
except SimpleClipLstmError as error:
    told["problem"] = str(error)
print(json.dumps(told))
"""


def eyes(here: Here, camera: str | None) -> Iterator[Finding]:
    """`camera` is one to look through; without, whether there are any that this user may read."""
    if camera is not None:
        yield _look(camera)
        return
    found = sorted(here.path("/dev").glob("video*"))
    closed = [f"/dev/{device.name}" for device in found if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        remedy = "sudo usermod -aG video $USER and log in again; in a container: --group-add video"
        yield Finding("cameras", Verdict.WARN, f"{', '.join(closed)} may not be opened by this user", remedy)
    elif not found and here.is_container:
        remedy = "start the container with --device /dev/video0, if the camera's driver is to run in it"
        yield Finding("cameras", Verdict.WARN, "no /dev/video* is seen from this container", remedy)
    else:
        names = ", ".join(f"/dev/{device.name}" for device in found)
        yield Finding("cameras", Verdict.OK, names or "none is plugged in here; others may publish images")


def _look(camera: str) -> Finding:
    try:
        told = tried("-c", _LOOK, camera)
    except TrialError as error:
        return Finding(f"camera {camera}", Verdict.ERROR, str(error), "look at OpenCV")
    if told["problem"]:
        return Finding(f"camera {camera}", Verdict.ERROR, told["problem"], "plug it in, or name another")
    return Finding(f"camera {camera}", Verdict.OK, f"gives a frame of {told['size']}")
