"""Under what conditions a figure was taken: all that it depends on besides the model."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from simple_clip_lstm_ros.engine.cpu import cpu_name, narrow_arithmetic
from simple_clip_lstm_ros.engine.power import power_mode

_LIBRARIES = ("transformers", "torchao", "numpy")
# Settings of the libraries that compute, which decide about speed.
_SETTINGS = ("OMP_", "MKL_", "ONEDNN_", "KMP_", "GOMP_", "CUDA_", "PYTORCH_", "TORCH_", "ATEN_", "LD_PRELOAD")


def read_conditions(device: torch.device) -> dict[str, Any]:
    """For JSON: device, threads, clocks, power mode, versions, environment and date."""
    frequency = psutil.cpu_freq()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": psutil.virtual_memory().total,
        "threads": torch.get_num_threads(),
        "instructions": " ".join([torch.backends.cpu.get_cpu_capability(), *narrow_arithmetic()]),
        "clock (MHz)": round(frequency.max or frequency.current) if frequency else None,
        "governor": _governor(),
        "power mode": power_mode(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": _versions(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)},
        "date": time.strftime("%Y-%m-%d"),
    }


def in_words(conditions: Mapping[str, Any]) -> str:
    """The line below a table."""
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    mode = f", power mode {conditions['power mode']}" if conditions["power mode"] else ""
    return (
        f"{conditions['device']} ({conditions['instructions']}), {conditions['cpus']} CPUs, {conditions['threads']} "
        f"threads, {conditions['memory'] / 1e9:.0f} GB{mode}; {versions}; {conditions['date']}"
    )


def _governor() -> str | None:
    """Who decides about the clock of the CPU."""
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return file.read_text().strip() if file.exists() else None


def _versions() -> dict[str, str | None]:
    own = {
        "python": platform.python_version(),
        "torch": torch.__version__,
    }  # with the build, which its metadata may lack
    return own | {name: _version(name) for name in _LIBRARIES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # torchao is optional
        return None
