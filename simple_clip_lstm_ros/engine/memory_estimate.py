"""Estimate the memory that a model needs before any of it is read, and check that it is available.

The estimate is what the machine must hold at once: anonymous memory, the pages of mapped weights that a step touches,
and the GPU's memory. It is computed from names, shapes and dtypes; the constants were measured on a CPU
(docs/benchmarks.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from simple_clip_lstm_ros.engine.memory import Memory
from simple_clip_lstm_ros.engine.towers import Tower, towers
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.preprocessing import MAX_TOKENS

# Added to the process by the first step besides tensors: code loaded on first use, thread buffers.
_FIRST_STEP = 20_000_000
# Added by the first step on a GPU, with its kernels and workspaces: estimated, not measured.
_CUDA_FIRST_STEP = 300_000_000
# Chunks of the tensor that is being read, in addition to the tensors that are loaded.
_CHUNKS = 10_000_000


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's tensors: `mapped` stay in the file and are touched by a step, `copied` are in new memory.

    `upcast` is the largest int8 weight in the compute dtype, as it exists during its multiplication; `unpacked` is the
    largest weight that is kept as stored until it has been packed.
    """

    mapped: int
    copied: int
    upcast: int = 0
    unpacked: int = 0


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated need in bytes.

    `device` is 0 on a CPU; with a GPU, weights and activations are on the GPU and counted in `device`.
    """

    weights: int
    activations: int
    runtime: int
    loading: int  # in addition, while the weights are read
    device: int

    @property
    def host(self) -> int:
        """Return the need in main memory, without the GPU's."""
        return (self.weights + self.activations if not self.device else 0) + self.runtime

    @property
    def total(self) -> int:
        return self.host + self.device

    def __str__(self) -> str:
        parts = {"weights": self.weights, "activations": self.activations, "runtime": self.runtime}
        details = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
        on_gpu = f", {self.device / 1e9:.2f} of them on the GPU" if self.device else ""
        return f"{self.peak / 1e9:.1f} GB ({details}{on_gpu})"

    @property
    def peak(self) -> int:
        """Return the larger need of stepping and of loading."""
        return max(self.total, self.total - self.activations + self.loading)


def estimate_memory(
    config: PolicyConfig, weights: WeightBytes, dtype: torch.dtype, device: torch.device, runtime: int
) -> MemoryEstimate:
    """Estimate the memory of loading and stepping a model.

    `runtime` is what the process has taken before it loads weights: interpreter, libraries, tokenizers, CUDA.
    """
    activations = _activation_bytes(config, dtype.itemsize) + weights.upcast
    size = weights.mapped + weights.copied
    on_gpu = device.type == "cuda"
    return MemoryEstimate(
        weights=size,
        activations=activations,
        runtime=runtime + _FIRST_STEP,
        loading=_CHUNKS + weights.unpacked if weights.copied else 0,
        device=size + activations + _CUDA_FIRST_STEP if on_gpu else 0,
    )


def available_memory(memory: Memory, budget_gb: float) -> int:
    """Return the bytes that this process may take in all, limited by machine, container and budget.

    Raise ConfigError for a budget that is not an amount of memory, or more than the machine has.
    """
    if not math.isfinite(budget_gb) or budget_gb < 0:
        raise ConfigError(f"memory_budget_gb must be a size in GB, or 0 for all available memory, got {budget_gb:g}")
    limit = min(memory.total, memory.cgroup.limit if memory.cgroup else memory.total)
    if budget_gb * 1e9 > limit:
        raise ConfigError(f"memory_budget_gb {budget_gb:g} is more than there is here: {limit / 1e9:.1f} GB")
    available = min(memory.available, memory.cgroup.available if memory.cgroup else memory.available)
    total = memory.process.anonymous + available
    return min(int(budget_gb * 1e9), total) if budget_gb else total


def fits(need: MemoryEstimate, memory: Memory, limit: int) -> bool:
    """Return whether the need is within `limit` bytes.

    A GPU that does not share the CPU's memory must also hold its part.
    """
    cuda = memory.cuda
    if cuda is None or cuda.shared:
        return need.peak <= limit
    return need.host <= limit and need.device <= cuda.free


def _activation_bytes(config: PolicyConfig, itemsize: int) -> int:
    """Return the activation bytes of the tower that needs most."""
    return max(_layer_bytes(tower, itemsize) for tower in towers(config, MAX_TOKENS).values())


def _layer_bytes(tower: Tower, itemsize: int) -> int:
    """Return the bytes of one layer's inputs, outputs and attention."""
    vectors = tower.tokens * (6 * tower.width + 2 * tower.inner) * itemsize
    return vectors + tower.heads * tower.tokens**2 * 4
