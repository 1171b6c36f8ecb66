"""Checks of the machine's resources: memory, disk, heat, cameras, and whether a checkpoint fits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from simple_clip_lstm_ros.doctor.finding import Finding, Host, ProbeError, Verdict, run_json
from simple_clip_lstm_ros.engine.cgroup import read_cgroup
from simple_clip_lstm_ros.engine.cpu import power_mode
from simple_clip_lstm_ros.errors import SimpleClipLstmError

_LEAST_MEMORY = 1.0  # GB; the smallest full model takes 2.3
_SWAPPED = 0.5  # GB in swap that are more than old pages of idle programs
_LEAST_DISK = 1.0  # GB for logs and recordings
_HOT = 85.0  # °C; Orin's modules slow down from 97 on


def machine(here: Host) -> Iterator[Finding]:
    yield memory()
    yield swap()
    yield disk(here)
    if here.is_jetson:
        yield heat(here)
        yield power()


def memory() -> Finding:
    group = read_cgroup()
    free = min(psutil.virtual_memory().available, group.available if group else 1 << 62) / 1e9
    where = f" of the container's {group.limit / 1e9:.1f} GB" if group else ""
    if free < _LEAST_MEMORY:
        remedy = "end other programs, or raise the container's limit"
        return Finding("memory", Verdict.ERROR, f"only {free:.1f} GB are free{where}", remedy)
    return Finding("memory", Verdict.OK, f"{free:.1f} GB are free{where}")


def swap() -> Finding:
    swap = psutil.swap_memory()
    if swap.used > _SWAPPED * 1e9:
        remedy = "end other programs, then `sudo swapoff -a && sudo swapon -a`"
        says = f"{swap.used / 1e9:.1f} GB are swapped out: steps wait for the disk where that is the model's"
        return Finding("swap", Verdict.WARN, says, remedy)
    return Finding("swap", Verdict.OK, f"{swap.used / 1e9:.1f} of {swap.total / 1e9:.1f} GB in use")


def disk(here: Host) -> Finding:
    """Where ROS writes its logs: a node that cannot does not start."""
    given = here.environment
    home = Path(given.get("HOME") or "/")
    logs = Path(given.get("ROS_LOG_DIR") or Path(given.get("ROS_HOME") or home / ".ros") / "log")
    there = next(folder for folder in (logs, *logs.parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        remedy = "set ROS_LOG_DIR to a folder that this user may write, or mount one"
        return Finding("logs", Verdict.ERROR, f"{logs} cannot be written: no node would start", remedy)
    free = shutil.disk_usage(there).free / 1e9
    if free < _LEAST_DISK:
        return Finding("logs", Verdict.WARN, f"{free:.1f} GB are free for {logs}", "make room on that disk")
    return Finding("logs", Verdict.OK, f"{logs}, {free:.0f} GB free")


def heat(here: Host) -> Finding:
    zones = sorted(here.path("/sys/class/thermal").glob("thermal_zone*/temp"))
    told = [here.read(f"/{zone.relative_to(here.root)}") for zone in zones]
    degrees = [int(text) / 1000 for text in told if text.lstrip("-").isdecimal()]
    if not degrees:
        return Finding("heat", Verdict.SKIPPED, "no thermal zone can be read from here")
    if max(degrees) > _HOT:
        remedy = "let the fan run (`sudo jetson_clocks --fan`), or choose a lower power mode"
        return Finding("heat", Verdict.WARN, f"{max(degrees):.0f} °C: it will slow down", remedy)
    return Finding("heat", Verdict.OK, f"{max(degrees):.0f} °C")


def power() -> Finding:
    mode = power_mode()
    if mode is None:
        return Finding("power mode", Verdict.SKIPPED, "nvpmodel is not here: ask the host, `sudo nvpmodel -q`")
    if "MAXN" not in mode:
        remedy = "`sudo nvpmodel -m 0 && sudo jetson_clocks` where 0 is MAXN (/etc/nvpmodel.conf)"
        return Finding("power mode", Verdict.WARN, f"{mode}: slower than this board can be", remedy)
    return Finding("power mode", Verdict.OK, mode)


_LOOK = """
import json, sys
from simple_clip_lstm_ros.cli.frame_source import open_source
from simple_clip_lstm_ros.errors import SimpleClipLstmError
told = {"problem": ""}
try:
    name, frame = open_source(sys.argv[1]).next()
    told["size"] = f"{frame.shape[1]} x {frame.shape[0]}"
except SimpleClipLstmError as error:
    told["problem"] = str(error)
print(json.dumps(told))
"""


def check_cameras(here: Host, camera: str | None) -> Iterator[Finding]:
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
        told = run_json("-c", _LOOK, camera)
    except ProbeError as error:
        return Finding(f"camera {camera}", Verdict.ERROR, str(error), "look at OpenCV")
    if told["problem"]:
        return Finding(f"camera {camera}", Verdict.ERROR, told["problem"], "plug it in, or name another")
    return Finding(f"camera {camera}", Verdict.OK, f"gives a frame of {told['size']}")


if TYPE_CHECKING:
    from simple_clip_lstm_ros.checkpoint.plan import LoadCandidates, Plan


def check_checkpoint(
    checkpoint: str,
    inspect: Callable[[], LoadCandidates],
    choose: Callable[[LoadCandidates], Plan],
    report: Callable[[int, int], None],
) -> Iterator[Finding]:
    """Check the files of `checkpoint`, then what `inspect` and `choose` say of loading it here.

    The machine's torch must work. `report` is called with the bytes read and the bytes in all.
    """
    yield _checksums(checkpoint, report)
    try:
        found = inspect()
    except SimpleClipLstmError as error:
        remedy = f"simple_clip_lstm inspect {checkpoint}"
        yield Finding("checkpoint", Verdict.ERROR, str(error), remedy)
        return
    config = found.spec.config
    yield Finding("checkpoint", Verdict.OK, f"{checkpoint}, with its tokenizers, read without a network")
    yield _memory(checkpoint, found, choose)
    if config.untrained:
        remedy = "name the checkpoint that your training wrote"
        yield Finding("trained", Verdict.ERROR, "these weights are random: the node commands zero", remedy)
    else:
        yield Finding("trained", Verdict.OK, "the file does not call itself untrained")
    if config.assumed:
        remedy = f"`simple_clip_lstm inspect {checkpoint}`, then state them with --config (policy_config:=)"
        yield Finding("recipe", Verdict.WARN, f"assumed: {', '.join(config.assumed)}", remedy)
    else:
        yield Finding("recipe", Verdict.OK, "stated")


def _checksums(checkpoint: str, report: Callable[[int, int], None]) -> Finding:
    from simple_clip_lstm_ros.checkpoint.verify import verify

    if Path(checkpoint).is_file():
        return Finding("checksums", Verdict.SKIPPED, "a .pth file has none: `convert` makes a bundle, which has")
    try:
        verified = verify(Path(checkpoint), report)
    except SimpleClipLstmError as error:
        return Finding("checksums", Verdict.ERROR, str(error), "copy the bundle again")
    if verified.broken:
        remedy = f"`simple_clip_lstm verify {checkpoint}` lists them: copy these again"
        return Finding("checksums", Verdict.ERROR, str(verified), remedy)
    return Finding("checksums", Verdict.OK, f"{len(verified.files)} files are as they were written")


def _memory(checkpoint: str, found: LoadCandidates, choose: Callable[[LoadCandidates], Plan]) -> Finding:
    try:
        plan = choose(found)
    except SimpleClipLstmError as error:
        return Finding("memory for it", Verdict.ERROR, str(error), f"simple_clip_lstm memory {checkpoint}")
    return Finding("memory for it", Verdict.OK, f"needs {plan.estimate}: {plan.why}")
