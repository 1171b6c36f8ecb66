"""All that is decided before a byte of weights is read: model, device, precision, and that the memory suffices."""

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
    """A load for which the memory should suffice. `why` tells how device, precision and engine were chosen."""

    candidates: LoadCandidates
    execution: ExecutionConfig
    estimate: MemoryEstimate
    why: str

    @contextmanager
    def oom_as_error(self) -> Iterator[None]:
        """Around the load and the first steps. Raises MemoryBudgetError where memory does not suffice after all."""
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
    texts: InstructionTokenizer
    memory: Memory
    limit: int

    def configs(self, precision: str = "auto", engine: str = "auto") -> list[ExecutionConfig]:
        """What these allow here, best first. Raises ConfigError or DeviceError where that is nothing."""
        found, lacking = [], ""
        for option in candidates(precision, self.device, self.spec.info.precision):
            for each in linear_backends(engine, option):
                lacks = each.unsupported_reason(option, self.device)
                lacking = lacking or lacks
                if not lacks:
                    found.append(ExecutionConfig(option, each))
        if not found:
            raise DeviceError(lacking)
        return found

    def estimate(self, execution: ExecutionConfig, spec: CheckpointSpec | None = None) -> MemoryEstimate:
        return (spec or self.spec).estimate(execution, self.device, self.memory.process.anonymous)

    def choose(self, precision: str = "auto", engine: str = "auto") -> Plan:
        """The first that fits of what these allow. Raises as `ways` does, and MemoryBudgetError where none fits."""
        wider: dict[ExecutionConfig, MemoryEstimate] = {}
        for execution in self.configs(precision, engine):
            need = self.estimate(execution)
            if fits(need, self.memory, self.limit):
                break
            wider[execution] = need
        else:
            raise MemoryBudgetError(
                self._error_message({execution.precision.name: need for execution, need in wider.items()})
            )
        told = "".join(f"; {other} would need {more.peak / 1e9:.1f} GB" for other, more in wider.items())
        if execution.precision.name == "int8" and (lacking := missing_dependency()):
            raise DeviceError(f"{lacking}{told}")
        return Plan(self, execution, need, f"{execution} on {self.device}{told}")

    def oom_message(self, plan: Plan, told: str) -> str:
        """Why what was planned did not fit after all, as a library `told` it, and what next to try."""
        path, name = self.spec.info.path, plan.execution.precision.name
        problem = f"{path} at precision {name} was to need {plan.estimate}, but memory ran out: {told}"
        smaller = (what for what, need in self._smaller({name}) if need.peak < plan.estimate.peak)
        return f"{problem}; free memory, or try {next(smaller, 'a smaller model')}"

    def _error_message(self, tried: dict[str, MemoryEstimate]) -> str:
        """Why no precision that was asked for fits, and the nearest that does."""
        needs = ", ".join(f"precision {name} needs {need}" for name, need in tried.items())
        cuda = self.memory.cuda
        gpu = f" and {cuda.free / 1e9:.1f} GB of {cuda.name}" if cuda and not cuda.shared else ""
        problem = f"{self.spec.info.path} does not fit into {self.limit / 1e9:.1f} GB{gpu}: {needs}"
        least, smallest = "", min(need.peak for need in tried.values())
        for name, need in self._smaller(tried):
            if fits(need, self.memory, self.limit):
                return f"{problem}; {name} needs {need.peak / 1e9:.1f} GB and fits"
            if need.peak < smallest:
                smallest, least = need.peak, f", not even {name}, which needs {need.peak / 1e9:.1f} GB"
        return (
            f"{problem}; nothing smaller fits{least}: free memory, or raise memory_budget_gb or the container's limit"
        )

    def _smaller(self, tried: Container[str]) -> Iterator[tuple[str, MemoryEstimate]]:
        """What else could be asked for: the other precisions, then the few layers that a cut model is left with."""
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
            yield f"precision {configs[-1].precision.name} with layers {words} (a cut model, its actions differ)", need


def inspect_machine(
    path: str | Path,
    processors: str | Path | None,
    device: str,
    overrides: Mapping[str, Any],
    memory_budget_gb: float,
) -> LoadCandidates:
    """Of the checkpoint at `path`, as load_policy takes it. Raises what load_policy raises."""
    target = resolve_device(device)
    spec = open_spec(path, overrides)
    texts = InstructionTokenizer(find_processors(spec.info.path, processors), spec.config, target)
    # Now that libraries and tokenizers are there, which the need counts as the runtime; without what they left behind.
    clear_memory()
    memory = read_memory(target)
    return LoadCandidates(spec, target, texts, memory, available_memory(memory, memory_budget_gb))
