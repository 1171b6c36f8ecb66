"""Load a planned Policy tensor by tensor, so that peak memory stays near the size of the loaded model."""

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

Progress = Callable[[int, int], None]  # bytes done, bytes in total; may raise to cancel


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
    """Load the checkpoint at `path`: a `.pth` file, a bundle or `builtin:NAME`.

    `processors` is the tokenizer folder, by default the checkpoint's own. `config` overrides PolicyConfig fields. On a
    CPU, weights that are stored at `precision` stay mapped from the file and take no anonymous memory. Loading is all
    or nothing: raise CheckpointError, ConfigError, ProcessorsError, DeviceError or MemoryBudgetError, if possible
    before the weights are read.
    """
    return load(
        inspect_machine(path, processors, device, config or {}, memory_budget_gb).choose(precision, engine), progress
    )


def load(plan: Plan, progress: Progress | None = None) -> Policy:
    """Load a plan, which works once: the weights go into the plan's own model.

    Raise CheckpointError for weights that are not finite, and MemoryBudgetError if memory runs out.
    """
    candidates, precision = plan.candidates, plan.execution.precision
    model, device = candidates.spec.model, candidates.device
    with plan.oom_as_error():
        load_weights(model, _tensors(candidates.spec.tensor_plans(plan.execution, device), progress), device, precision)
    clear_memory()  # the heap would keep the memory of the chunks
    return Policy(
        model, ImagePreprocessor(model.config, device, precision.compute_dtype), candidates.tokenizer, precision.name
    )


def _tensors(plans: Sequence[TensorPlan], progress: Progress | None) -> Iterable[tuple[str, Tensor]]:
    total, done = sum(plan.cast.stored.nbytes for plan in plans), 0
    for plan in plans:
        yield plan.name, plan.read()
        done += plan.cast.stored.nbytes
        if progress:
            progress(done, total)
