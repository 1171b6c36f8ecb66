"""From a plan to a Policy, tensor by tensor: the peak stays near the size of the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from simple_clip_lstm_ros.checkpoint.build import fill
from simple_clip_lstm_ros.checkpoint.plan import Plan, survey
from simple_clip_lstm_ros.engine.memory import clear_memory
from simple_clip_lstm_ros.engine.quantise import as_weight
from simple_clip_lstm_ros.policy.inputs import Images
from simple_clip_lstm_ros.policy.policy import Policy

Progress = Callable[[int, int], None]  # bytes done, bytes in all; may raise to cancel


def load_policy(
    path: str | Path,
    *,
    processors: str | Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    config: Mapping[str, Any] | None = None,
    memory_budget_gb: float = 0.0,
    progress: Progress | None = None,
) -> Policy:
    """Load the checkpoint at `path`, a `.pth` file or a bundle, with the processors given, or inside or beside it.

    `config` overrides PolicyConfig fields. On a CPU weights that are stored at `precision` stay mapped from the file
    and take no anonymous memory. All or nothing: raises CheckpointError, ConfigError, ProcessorsError, DeviceError or
    MemoryBudgetError, each before the weights are read where it can be.
    """
    return load(survey(path, processors, device, config or {}, memory_budget_gb).choose(precision), progress)


def load(plan: Plan, progress: Progress | None = None) -> Policy:
    """What is planned, once: the plan's own model is filled. Raises CheckpointError for weights that are not finite."""
    model, dtype = plan.blueprint.model, plan.precision.dtype
    fill(model, _tensors(plan, progress), plan.device, dtype)
    clear_memory()  # what the pieces left would be kept by the heap
    return Policy(model, Images(model.config, plan.device, dtype), plan.texts, plan.precision.name)


def _tensors(plan: Plan, progress: Progress | None) -> Iterable[tuple[str, Tensor]]:
    casts = plan.blueprint.loads(plan.precision, plan.device)
    total = sum(cast.stored.nbytes for cast in casts)
    done = 0
    for cast in casts:
        # Read on the CPU, then move: a copy from mapped memory to a device can pull the whole file into RAM.
        values, scales = cast.collect(mapped=plan.device.type == "cpu")
        values = values.to(plan.device)
        if scales is not None:
            values = as_weight(values, scales.to(plan.device), plan.precision.dtype)
        yield cast.name, values
        done += cast.stored.nbytes
        if progress:
            progress(done, total)
