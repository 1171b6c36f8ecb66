"""Steps of a policy under the clock: how long each took, what it gave, and who else kept the CPU busy meanwhile."""

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
from simple_clip_lstm_ros.policy.model import EncodedInstruction, Pixels, SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy

FUSED = "fused"
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass(frozen=True)
class StepProfile:
    """One frame. Seconds: of the clock, of all threads of this process, and of all else that ran on its CPUs.

    The last is known to a few hundredths of a second only, and so may be below zero in one lap. `faults` are pages of
    memory that had to be read from a disk.
    """

    seconds: float
    own: float
    others: float
    faults: int
    components: dict[str, float]
    features: dict[str, np.ndarray]  # each [width], the fused vector among them
    action: tuple[float, ...]


def profile_step(policy: Policy, watch: ModuleTimer, frame: np.ndarray, instruction: str = INSTRUCTION) -> StepProfile:
    """The next step of a policy whose model is watched; it carries its hidden state on."""
    watch.lap()
    faults, busy, own, begin = _page_faults(), _busy_seconds(), time.process_time(), time.perf_counter()
    features = policy.features(frame, instruction)
    action = policy.act(features)
    seconds, own = time.perf_counter() - begin, time.process_time() - own
    busy, faults = _busy_seconds() - busy, _page_faults() - faults
    components = watch.lap()
    fused = policy.model.fuse(features)
    return StepProfile(
        seconds,
        own,
        busy - own,
        faults,
        components,
        {name: values[0].float().cpu().numpy() for name, values in (features | {FUSED: fused}).items()},
        action,
    )


def to_output_trace(laps: Sequence[StepProfile], axes: tuple[str, ...]) -> OutputTrace:
    features = {
        name: np.stack([profile_step.features[name] for profile_step in laps]).astype(float)
        for name in laps[0].features
    }
    return OutputTrace(axes, features, np.array([profile_step.action for profile_step in laps]))


def contention(laps: Sequence[StepProfile]) -> float:
    """Which share of this process's CPUs others have used while it was stepping."""
    cpus = len(os.sched_getaffinity(0))
    return max(0.0, sum(profile_step.others for profile_step in laps)) / (
        cpus * sum(profile_step.seconds for profile_step in laps)
    )


def disable_text_cache(model: SimpleCLIPLSTM) -> None:
    """The plain way, as a baseline: what depends on the instruction alone is computed for every frame anew."""
    features = model.features

    def anew(pixels: Pixels, instruction: EncodedInstruction) -> dict:
        return features(pixels, model.encode_instruction(instruction.tokens))

    model.features = anew  # type: ignore[method-assign]


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _busy_seconds() -> float:
    """Seconds that the CPUs of this process have worked since the system started, for whomever."""
    times = psutil.cpu_times(percpu=True)
    return sum(getattr(times[cpu], kind, 0.0) for cpu in os.sched_getaffinity(0) for kind in _WORKING)
