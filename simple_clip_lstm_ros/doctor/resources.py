"""Checks of the machine's resources: memory, disk, temperature, cameras, and whether a checkpoint fits."""

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
_SWAPPED = 0.5  # GB; less may be old pages of idle programs
_LEAST_DISK = 1.0  # GB for logs and recordings
_HOT = 85.0  # °C; Orin's modules slow down from 97 on


def check_machine(host: Host) -> Iterator[Finding]:
    yield check_memory()
    yield check_swap()
    yield check_disk(host)
    if host.is_jetson:
        yield check_temperature(host)
        yield check_power_mode()


def check_memory() -> Finding:
    cgroup = read_cgroup()
    free = min(psutil.virtual_memory().available, cgroup.available if cgroup else 1 << 62) / 1e9
    where = f" of the container's {cgroup.limit / 1e9:.1f} GB" if cgroup else ""
    if free < _LEAST_MEMORY:
        remedy = "end other programs, or raise the container's limit"
        return Finding("memory", Verdict.ERROR, f"only {free:.1f} GB are free{where}", remedy)
    return Finding("memory", Verdict.OK, f"{free:.1f} GB are free{where}")


def check_swap() -> Finding:
    swap = psutil.swap_memory()
    if swap.used > _SWAPPED * 1e9:
        remedy = "end other programs, then `sudo swapoff -a && sudo swapon -a`"
        says = f"{swap.used / 1e9:.1f} GB are swapped out: steps wait for the disk where that is the model's"
        return Finding("swap", Verdict.WARN, says, remedy)
    return Finding("swap", Verdict.OK, f"{swap.used / 1e9:.1f} of {swap.total / 1e9:.1f} GB in use")


def check_disk(host: Host) -> Finding:
    """Check the folder of ROS logs; a node that cannot write there does not start."""
    environment = host.environment
    home = Path(environment.get("HOME") or "/")
    logs = Path(environment.get("ROS_LOG_DIR") or Path(environment.get("ROS_HOME") or home / ".ros") / "log")
    existing = next(folder for folder in (logs, *logs.parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        remedy = "set ROS_LOG_DIR to a folder that this user may write, or mount one"
        return Finding("logs", Verdict.ERROR, f"{logs} cannot be written: no node would start", remedy)
    free = shutil.disk_usage(existing).free / 1e9
    if free < _LEAST_DISK:
        return Finding("logs", Verdict.WARN, f"{free:.1f} GB are free for {logs}", "make room on that disk")
    return Finding("logs", Verdict.OK, f"{logs}, {free:.0f} GB free")


def check_temperature(host: Host) -> Finding:
    zones = sorted(host.path("/sys/class/thermal").glob("thermal_zone*/temp"))
    texts = [host.read_text(f"/{zone.relative_to(host.root)}") for zone in zones]
    degrees = [int(text) / 1000 for text in texts if text.lstrip("-").isdecimal()]
    if not degrees:
        return Finding("heat", Verdict.SKIPPED, "no thermal zone can be read from here")
    if max(degrees) > _HOT:
        remedy = "let the fan run (`sudo jetson_clocks --fan`), or choose a lower power mode"
        return Finding("heat", Verdict.WARN, f"{max(degrees):.0f} °C: it will slow down", remedy)
    return Finding("heat", Verdict.OK, f"{max(degrees):.0f} °C")


def check_power_mode() -> Finding:
    mode = power_mode()
    if mode is None:
        return Finding("power mode", Verdict.SKIPPED, "nvpmodel is not here: ask the host, `sudo nvpmodel -q`")
    if "MAXN" not in mode:
        remedy = "`sudo nvpmodel -m 0 && sudo jetson_clocks` where 0 is MAXN (/etc/nvpmodel.conf)"
        return Finding("power mode", Verdict.WARN, f"{mode}: slower than this board can be", remedy)
    return Finding("power mode", Verdict.OK, mode)


_READ_FRAME = """
import json, sys
from simple_clip_lstm_ros.cli.frame_source import open_source
from simple_clip_lstm_ros.errors import SimpleClipLstmError
result = {"problem": ""}
try:
    name, frame = open_source(sys.argv[1]).next()
    result["size"] = f"{frame.shape[1]} x {frame.shape[0]}"
except SimpleClipLstmError as error:
    result["problem"] = str(error)
print(json.dumps(result))
"""


def check_cameras(host: Host, camera: str | None) -> Iterator[Finding]:
    """Read a frame of `camera`; if None, check that this user may open the cameras."""
    if camera is not None:
        yield _check_camera(camera)
        return
    found = sorted(host.path("/dev").glob("video*"))
    closed = [f"/dev/{device.name}" for device in found if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        remedy = "sudo usermod -aG video $USER and log in again; in a container: --group-add video"
        yield Finding("cameras", Verdict.WARN, f"{', '.join(closed)} may not be opened by this user", remedy)
    elif not found and host.is_container:
        remedy = "start the container with --device /dev/video0, if the camera's driver is to run in it"
        yield Finding("cameras", Verdict.WARN, "no /dev/video* is seen from this container", remedy)
    else:
        names = ", ".join(f"/dev/{device.name}" for device in found)
        yield Finding("cameras", Verdict.OK, names or "none is plugged in here; others may publish images")


def _check_camera(camera: str) -> Finding:
    try:
        result = run_json("-c", _READ_FRAME, camera)
    except ProbeError as error:
        return Finding(f"camera {camera}", Verdict.ERROR, str(error), "look at OpenCV")
    if result["problem"]:
        return Finding(f"camera {camera}", Verdict.ERROR, result["problem"], "plug it in, or name another")
    return Finding(f"camera {camera}", Verdict.OK, f"gives a frame of {result['size']}")


if TYPE_CHECKING:
    from simple_clip_lstm_ros.checkpoint.plan import LoadCandidates, Plan


def check_checkpoint(
    checkpoint: str,
    inspect: Callable[[], LoadCandidates],
    choose: Callable[[LoadCandidates], Plan],
    report: Callable[[int, int], None],
) -> Iterator[Finding]:
    """Check the files of `checkpoint`, then whether `inspect` and `choose` can load it here.

    The machine's torch must work. `report` is called with the bytes read and the total.
    """
    yield _check_checksums(checkpoint, report)
    try:
        found = inspect()
    except SimpleClipLstmError as error:
        remedy = f"simple_clip_lstm inspect {checkpoint}"
        yield Finding("checkpoint", Verdict.ERROR, str(error), remedy)
        return
    config = found.spec.config
    yield Finding("checkpoint", Verdict.OK, f"{checkpoint}, with its tokenizers, read without a network")
    yield _check_memory_for(checkpoint, found, choose)
    if config.untrained:
        remedy = "name the checkpoint that your training wrote"
        yield Finding("trained", Verdict.ERROR, "these weights are random: the node commands zero", remedy)
    else:
        yield Finding("trained", Verdict.OK, "the file is not marked untrained")
    if config.assumed:
        remedy = f"`simple_clip_lstm inspect {checkpoint}`, then state them with --config (policy_config:=)"
        yield Finding("recipe", Verdict.WARN, f"assumed: {', '.join(config.assumed)}", remedy)
    else:
        yield Finding("recipe", Verdict.OK, "stated")


def _check_checksums(checkpoint: str, report: Callable[[int, int], None]) -> Finding:
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


def _check_memory_for(checkpoint: str, found: LoadCandidates, choose: Callable[[LoadCandidates], Plan]) -> Finding:
    try:
        plan = choose(found)
    except SimpleClipLstmError as error:
        return Finding("memory for it", Verdict.ERROR, str(error), f"simple_clip_lstm memory {checkpoint}")
    return Finding("memory for it", Verdict.OK, f"needs {plan.estimate}: {plan.why}")
