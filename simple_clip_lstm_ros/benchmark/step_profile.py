"""Profile steps of a policy: wall and CPU time, outputs, page faults and the load of other processes."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil

from simple_clip_lstm_ros.benchmark.module_timer import ModuleTimer
from simple_clip_lstm_ros.engine.output_error import INSTRUCTION, OutputTrace
from simple_clip_lstm_ros.policy.encoders import EncodedInstruction, Pixels
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy

FUSED = "fused"
_BUSY_STATES = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass(frozen=True)
class StepProfile:
    """One profiled step.

    `seconds` is wall time, `cpu_seconds` that of all threads of this process, `other_cpu_seconds` that of all other
    work on its CPUs. The latter is accurate to a few hundredths of a second only and may be negative for a single step.
    `faults` counts memory pages that had to be read from disk.
    """

    seconds: float
    cpu_seconds: float
    other_cpu_seconds: float
    faults: int
    components: dict[str, float]
    features: dict[str, np.ndarray]  # each [width], including the fused vector
    action: tuple[float, ...]


def profile_step(policy: Policy, timer: ModuleTimer, frame: np.ndarray, instruction: str = INSTRUCTION) -> StepProfile:
    """Profile the next step of a policy; `timer` watches its model. The hidden state carries on."""
    timer.pop_seconds()
    faults, busy, cpu_seconds, start = _page_faults(), _busy_seconds(), time.process_time(), time.perf_counter()
    features = policy.features(frame, instruction)
    action = policy.act(features)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_seconds
    busy, faults = _busy_seconds() - busy, _page_faults() - faults
    components = timer.pop_seconds()
    fused = policy.model.fuse(features)
    return StepProfile(
        seconds,
        cpu_seconds,
        busy - cpu_seconds,
        faults,
        components,
        {name: values[0].float().cpu().numpy() for name, values in (features | {FUSED: fused}).items()},
        action,
    )


def to_output_trace(profiles: Sequence[StepProfile], axes: tuple[str, ...]) -> OutputTrace:
    features = {
        name: np.stack([profile.features[name] for profile in profiles]).astype(float) for name in profiles[0].features
    }
    return OutputTrace(axes, features, np.array([profile.action for profile in profiles]))


def contention(profiles: Sequence[StepProfile]) -> float:
    """Return the share of this process's CPUs that other processes used during the steps."""
    cpus = len(os.sched_getaffinity(0))
    return max(0.0, sum(profile.other_cpu_seconds for profile in profiles)) / (
        cpus * sum(profile.seconds for profile in profiles)
    )


def disable_text_cache(model: SimpleCLIPLSTM) -> None:
    """Make the model encode the instruction again for every frame, as a baseline."""
    features = model.features

    def encode_and_extract(pixels: Pixels, instruction: EncodedInstruction) -> dict:
        return features(pixels, model.encode_instruction(instruction.tokens))

    model.features = encode_and_extract  # type: ignore[method-assign]


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _busy_seconds() -> float:
    """Return the total busy seconds since boot of the CPUs that this process may use."""
    times = psutil.cpu_times(percpu=True)
    return sum(getattr(times[cpu], kind, 0.0) for cpu in os.sched_getaffinity(0) for kind in _BUSY_STATES)
