"""From a plan to a Policy, tensor by tensor: the peak stays near the size of the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from simple_clip_lstm_ros.checkpoint.build import load_weights
from simple_clip_lstm_ros.checkpoint.plan import Plan, inspect_machine
from simple_clip_lstm_ros.checkpoint.tensors import TensorPlan
from simple_clip_lstm_ros.engine.memory import clear_memory
from simple_clip_lstm_ros.policy.policy import Policy
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor

Progress = Callable[[int, int], None]  # bytes done, bytes in all; may raise to cancel


def load_policy(
    path: str | Path,
    *,
    processors: str | Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    engine: str = "auto",
    config: Mapping[str, Any] | None = None,
    memory_budget_gb: float = 0.0,
    progress: Progress | None = None,
) -> Policy:
    """Load the checkpoint at `path` (a `.pth` file, a bundle or `builtin:NAME`), with the processors given or its own.

    `config` overrides PolicyConfig fields. On a CPU weights that are stored at `precision` stay mapped from the file
    and take no anonymous memory. All or nothing: raises CheckpointError, ConfigError, ProcessorsError, DeviceError or
    MemoryBudgetError, each before the weights are read where it can be.
    """
    return load(
        inspect_machine(path, processors, device, config or {}, memory_budget_gb).choose(precision, engine), progress
    )


def load(plan: Plan, progress: Progress | None = None) -> Policy:
    """What is planned, once: the survey's own model is filled.

    Raises CheckpointError for weights that are not finite, and MemoryBudgetError where memory runs out.
    """
    found, precision = plan.candidates, plan.execution.precision
    model, device = found.spec.model, found.device
    with plan.oom_as_error():
        load_weights(model, _tensors(found.spec.parts(plan.execution, device), progress), device, precision)
    clear_memory()  # what the pieces left would be kept by the heap
    return Policy(model, ImagePreprocessor(model.config, device, precision.compute_dtype), found.texts, precision.name)


def _tensors(parts: Sequence[TensorPlan], progress: Progress | None) -> Iterable[tuple[str, Tensor]]:
    total, done = sum(part.cast.stored.nbytes for part in parts), 0
    for part in parts:
        yield part.name, part.read()
        done += part.cast.stored.nbytes
        if progress:
            progress(done, total)
