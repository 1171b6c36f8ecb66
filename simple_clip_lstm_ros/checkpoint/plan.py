"""Decide everything before weights are read: model, device, precision, backend, and that the memory suffices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simple_clip_lstm_ros.checkpoint.layer_pruning import FEW_LAYERS, count_layers, parse_layers
from simple_clip_lstm_ros.checkpoint.spec import CheckpointSpec, open_spec
from simple_clip_lstm_ros.engine.linear_backends import ExecutionConfig, linear_backends
from simple_clip_lstm_ros.engine.memory import Memory, clear_memory, is_out_of_memory, read_memory
from simple_clip_lstm_ros.engine.memory_estimate import MemoryEstimate, available_memory, fits
from simple_clip_lstm_ros.engine.precision import candidates, resolve_device
from simple_clip_lstm_ros.engine.quantization import missing_dependency
from simple_clip_lstm_ros.errors import DeviceError, MemoryBudgetError, first_line
from simple_clip_lstm_ros.policy.preprocessing import InstructionTokenizer
from simple_clip_lstm_ros.policy.processor_files import find_processors


@dataclass(frozen=True)
class Plan:
    """A load for which the memory should suffice. `why` explains the choice of device, precision and engine."""

    candidates: LoadCandidates
    execution: ExecutionConfig
    estimate: MemoryEstimate
    why: str

    @contextmanager
    def oom_as_error(self) -> Iterator[None]:
        """Raise MemoryBudgetError if memory runs out within the context: the load and the first steps."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryBudgetError(self.candidates.oom_message(self, first_line(error))) from None


@dataclass(frozen=True)
class LoadCandidates:
    """A checkpoint on this machine, with `limit` bytes for it, before precision and engine are chosen."""

    spec: CheckpointSpec
    device: torch.device
    tokenizer: InstructionTokenizer
    memory: Memory
    limit: int

    def configs(self, precision: str = "auto", engine: str = "auto") -> list[ExecutionConfig]:
        """Return the usable configurations, best first.

        Raise ConfigError or DeviceError if there is none.
        """
        found, first_reason = [], ""
        for option in candidates(precision, self.device, self.spec.info.precision):
            for backend in linear_backends(engine, option):
                reason = backend.unsupported_reason(option, self.device)
                first_reason = first_reason or reason
                if not reason:
                    found.append(ExecutionConfig(option, backend))
        if not found:
            raise DeviceError(first_reason)
        return found

    def estimate(self, execution: ExecutionConfig, spec: CheckpointSpec | None = None) -> MemoryEstimate:
        return (spec or self.spec).estimate(execution, self.device, self.memory.process.anonymous)

    def choose(self, precision: str = "auto", engine: str = "auto") -> Plan:
        """Return a plan for the first usable configuration that fits.

        Raise as `configs` does, and MemoryBudgetError if none fits.
        """
        too_large: dict[ExecutionConfig, MemoryEstimate] = {}
        for execution in self.configs(precision, engine):
            need = self.estimate(execution)
            if fits(need, self.memory, self.limit):
                break
            too_large[execution] = need
        else:
            raise MemoryBudgetError(
                self._error_message({execution.precision.name: need for execution, need in too_large.items()})
            )
        skipped = "".join(f"; {other} would need {more.peak / 1e9:.1f} GB" for other, more in too_large.items())
        if execution.precision.name == "int8" and (missing := missing_dependency()):
            raise DeviceError(f"{missing}{skipped}")
        return Plan(self, execution, need, f"{execution} on {self.device}{skipped}")

    def oom_message(self, plan: Plan, error: str) -> str:
        """Return why the plan did not fit after all, and what to try next.

        `error` is the library's message.
        """
        path, name = self.spec.info.path, plan.execution.precision.name
        problem = f"{path} at precision {name} was estimated to need {plan.estimate}, but memory ran out: {error}"
        smaller = (what for what, need in self._smaller({name}) if need.peak < plan.estimate.peak)
        return f"{problem}; free memory, or try {next(smaller, 'a smaller model')}"

    def _error_message(self, tried: dict[str, MemoryEstimate]) -> str:
        """Return why no requested precision fits, and the nearest one that does."""
        needs = ", ".join(f"precision {name} needs {need}" for name, need in tried.items())
        cuda = self.memory.cuda
        gpu = f" and {cuda.free / 1e9:.1f} GB of {cuda.name}" if cuda and not cuda.shared else ""
        problem = f"{self.spec.info.path} does not fit into {self.limit / 1e9:.1f} GB{gpu}: {needs}"
        hint, smallest = "", min(need.peak for need in tried.values())
        for name, need in self._smaller(tried):
            if fits(need, self.memory, self.limit):
                return f"{problem}; {name} needs {need.peak / 1e9:.1f} GB and fits"
            if need.peak < smallest:
                smallest, hint = need.peak, f", not even {name}, which needs {need.peak / 1e9:.1f} GB"
        return f"{problem}; nothing smaller fits{hint}: free memory, or raise memory_budget_gb or the container's limit"

    def _smaller(self, tried: Container[str]) -> Iterator[tuple[str, MemoryEstimate]]:
        """Yield smaller alternatives: the other precisions, then a pruned model."""
        configs = [
            execution for execution in self.configs() if execution.precision.name != "int8" or not missing_dependency()
        ]
        for execution in configs:
            if execution.precision.name not in tried:
                yield f"precision {execution.precision.name}", self.estimate(execution)
        counts = count_layers(self.spec.info.tensors)
        few = {tower: kept for tower, kept in FEW_LAYERS.items() if counts[tower] > kept}
        if few and configs:
            words = ",".join(f"{tower}={kept}" for tower, kept in few.items())
            need = self.estimate(configs[-1], self.spec.with_layers(parse_layers(few)))
            yield (
                f"precision {configs[-1].precision.name} with layers {words} (pruned, its actions differ)",
                need,
            )


def inspect_machine(
    path: str | Path,
    processors: str | Path | None,
    device: str,
    overrides: Mapping[str, Any],
    memory_budget_gb: float,
) -> LoadCandidates:
    """Inspect the checkpoint at `path`, the device and its memory.

    The arguments are those of load_policy. Raise what load_policy raises.
    """
    target = resolve_device(device)
    spec = open_spec(path, overrides)
    tokenizer = InstructionTokenizer(find_processors(spec.info.path, processors), spec.config, target)
    # Read the memory after loading libraries and tokenizers, which the estimate counts as runtime, but without garbage.
    clear_memory()
    memory = read_memory(target)
    return LoadCandidates(spec, target, tokenizer, memory, available_memory(memory, memory_budget_gb))
