"""From a plan to a Policy, tensor by tensor: the peak stays near the size of the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from simple_clip_lstm_ros.checkpoint.blueprint import is_table
from simple_clip_lstm_ros.checkpoint.build import fill
from simple_clip_lstm_ros.checkpoint.plan import Plan, survey
from simple_clip_lstm_ros.engine.memory import clear_memory, trim_heap
from simple_clip_lstm_ros.engine.quantise import linear_weights
from simple_clip_lstm_ros.policy.inputs import Images
from simple_clip_lstm_ros.policy.policy import Policy

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
    """Load the checkpoint at `path`, a `.pth` file or a bundle, with the processors given, or inside or beside it.

    `config` overrides PolicyConfig fields. On a CPU weights that are stored at `precision` stay mapped from the file
    and take no anonymous memory. All or nothing: raises CheckpointError, ConfigError, ProcessorsError, DeviceError or
    MemoryBudgetError, each before the weights are read where it can be.
    """
    return load(survey(path, processors, device, config or {}, memory_budget_gb).choose(precision, engine), progress)


def load(plan: Plan, progress: Progress | None = None) -> Policy:
    """What is planned, once: the plan's own model is filled. Raises CheckpointError for weights that are not finite."""
    model, precision = plan.blueprint.model, plan.way.precision
    fill(model, _tensors(plan, progress), plan.device, precision)
    clear_memory()  # what the pieces left would be kept by the heap
    return Policy(model, Images(model.config, plan.device, precision.arithmetic), plan.texts, precision.name)


def _tensors(plan: Plan, progress: Progress | None) -> Iterable[tuple[str, Tensor]]:
    precision, engine = plan.way.precision, plan.way.engine
    casts, linear = plan.blueprint.loads(precision, plan.device), linear_weights(plan.blueprint.model)
    total = sum(cast.stored.nbytes for cast in casts)
    done = 0
    for cast in casts:
        is_linear = cast.name in linear
        # Read on the CPU, then move: a copy from mapped memory to a device can pull the whole file into RAM.
        values, scales = cast.collect(mapped=plan.device.type == "cpu" and not (is_linear and engine.copies))
        values = values.to(plan.device)
        if is_linear:
            values = engine.weight(values, None if scales is None else scales.to(plan.device), precision.arithmetic)
            if engine.copies:
                trim_heap()  # packing leaves holes of the size of a weight, which would add up
        elif precision.widens and values.dtype == precision.dtype and not is_table(cast.name):
            values = values.to(precision.arithmetic)
        yield cast.name, values
        done += cast.stored.nbytes
        if progress:
            progress(done, total)
