"""What a model will need before a byte of it is read, and whether that is there.

The need is what the machine must hold at once: anonymous memory, the pages of mapped weights that a step touches, and
the memory of the GPU. It is computed from names, shapes and dtypes; the constants were measured on a CPU
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

# What the first step adds to the process besides tensors: code that is loaded on first use, buffers of the threads.
_FIRST_STEP = 20_000_000
# What it adds on a GPU, whose kernels and workspaces come with it: an estimate, not measured.
_CUDA_FIRST_STEP = 300_000_000
# While weights are read, pieces of one tensor are at hand besides what is loaded.
_CHUNKS = 10_000_000


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's tensors: `mapped` stay in the file and are touched by a step, `copied` are made anew.

    `widened` is the largest int8 weight in the dtype of the arithmetic, as it is for the moment of its multiplication;
    `unpacked` the largest weight that is held as it is stored until it has been packed.
    """

    mapped: int
    copied: int
    upcast: int = 0
    unpacked: int = 0


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. On a CPU `device` is 0, on a GPU the weights and activations are there."""

    weights: int
    activations: int
    runtime: int
    loading: int  # above all others, while the weights are read
    device: int

    @property
    def host(self) -> int:
        """Of the machine's memory, the GPU's left aside."""
        return (self.weights + self.activations if not self.device else 0) + self.runtime

    @property
    def total(self) -> int:
        return self.host + self.device

    def __str__(self) -> str:
        parts = {"weights": self.weights, "activations": self.activations, "runtime": self.runtime}
        told = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
        on_gpu = f", {self.device / 1e9:.2f} of them on the GPU" if self.device else ""
        return f"{self.peak / 1e9:.1f} GB ({told}{on_gpu})"

    @property
    def peak(self) -> int:
        return max(self.total, self.total - self.activations + self.loading)


def estimate_memory(
    config: PolicyConfig, weights: WeightBytes, dtype: torch.dtype, device: torch.device, runtime: int
) -> MemoryEstimate:
    """`runtime` is what the process has taken before it loads weights: interpreter, libraries, tokenizers, CUDA."""
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
    """Bytes that this process may take in all: what machine and container leave it, and no more than a budget.

    Raises ConfigError for a budget that is no amount of memory, or more than there is.
    """
    if not math.isfinite(budget_gb) or budget_gb < 0:
        raise ConfigError(f"memory_budget_gb is an amount in GB, or 0 for what the machine has, not {budget_gb:g}")
    limit = min(memory.total, memory.cgroup.limit if memory.cgroup else memory.total)
    if budget_gb * 1e9 > limit:
        raise ConfigError(f"memory_budget_gb {budget_gb:g} is more than there is here: {limit / 1e9:.1f} GB")
    available = min(memory.available, memory.cgroup.available if memory.cgroup else memory.available)
    there_is = memory.process.anonymous + available
    return min(int(budget_gb * 1e9), there_is) if budget_gb else there_is


def fits(need: MemoryEstimate, memory: Memory, limit: int) -> bool:
    """Whether the need is within `limit` bytes. A GPU of its own must hold its part besides."""
    cuda = memory.cuda
    if cuda is None or cuda.shared:
        return need.peak <= limit
    return need.host <= limit and need.device <= cuda.free


def _activation_bytes(config: PolicyConfig, itemsize: int) -> int:
    """Of the tower that needs most: one layer's inputs, outputs and attention."""
    return max(_layer_bytes(tower, itemsize) for tower in towers(config, MAX_TOKENS).values())


def _layer_bytes(tower: Tower, itemsize: int) -> int:
    vectors = tower.tokens * (6 * tower.width + 2 * tower.inner) * itemsize
    return vectors + tower.heads * tower.tokens**2 * 4
