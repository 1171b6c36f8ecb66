"""The machine: memory, swap, disk, and of a Jetson its heat and its power mode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from simple_clip_lstm_ros.cli.checks.finding import Finding, Here, Verdict
from simple_clip_lstm_ros.engine.cgroup import read_cgroup
from simple_clip_lstm_ros.engine.power import power_mode

_LEAST_MEMORY = 1.0  # GB; the smallest full model takes 2.3
_SWAPPED = 0.5  # GB in swap that are more than old pages of idle programs
_LEAST_DISK = 1.0  # GB for logs and recordings
_HOT = 85.0  # °C; Orin's modules slow down from 97 on


def machine(here: Here) -> Iterator[Finding]:
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


def disk(here: Here) -> Finding:
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


def heat(here: Here) -> Finding:
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
