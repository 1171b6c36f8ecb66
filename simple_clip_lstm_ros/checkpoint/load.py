"""From a file to a Policy, tensor by tensor: the peak stays near the size of the loaded model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextSinusoidalPositionalEmbedding

from simple_clip_lstm_ros.checkpoint.compare import compare
from simple_clip_lstm_ros.checkpoint.derive import derive_config
from simple_clip_lstm_ros.checkpoint.describe import Description, describe
from simple_clip_lstm_ros.engine.precision import resolve_device, resolve_dtype
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError, first_line
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.inputs import Images, Texts, find_processors
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.policy import Policy

Progress = Callable[[int, int], None]  # bytes done, bytes in all; may raise to cancel


def load_policy(
    path: str | Path,
    *,
    processors: str | Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    config: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Policy:
    """Load the checkpoint at `path` with the processors given, or beside it; `config` overrides PolicyConfig fields.

    In float32 on a CPU the weights stay mapped from the file and take no anonymous memory. All or nothing: raises
    CheckpointError, ConfigError, ProcessorsError or DeviceError, each before the weights are read where it can be.
    """
    target = resolve_device(device)
    dtype = resolve_dtype(precision, target)
    description = describe(path)
    try:
        policy_config = derive_config(description.shapes, description.stated_config, config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    texts = Texts(find_processors(Path(path), processors), policy_config, target)
    mismatch = compare(needed_shapes(policy_config), description.shapes)
    if mismatch:
        raise CheckpointError(f"{path} does not fit the model: {mismatch}")
    model = build(policy_config)
    fill(model, _tensors(description, target, dtype, progress), target, dtype)
    return Policy(model, Images(policy_config, target, dtype), texts)


def build(config: PolicyConfig) -> SimpleCLIPLSTM:
    """The model on the meta device: all of its structure, none of its memory, no random initialisation."""
    try:
        with torch.device("meta"):
            return SimpleCLIPLSTM(config)
    except Exception as error:  # each version of Hugging Face and torch refuses a setting by another exception
        raise ConfigError(f"these settings make no model: {first_line(error)}") from None


def needed_shapes(config: PolicyConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this model holds."""
    return {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}


def fill(
    model: SimpleCLIPLSTM, tensors: Iterable[tuple[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> None:
    """Give a model on the meta device its parameters, and the buffers that no state dict holds."""
    model.load_state_dict(dict(tensors), strict=True, assign=True)
    for module in model.modules():
        if isinstance(module, Kosmos2TextSinusoidalPositionalEmbedding):
            count, width = module.weights.shape
            module.weights = module.get_embedding(count, width, module.padding_idx).to(device, dtype)
        elif isinstance(positions := getattr(module, "position_ids", None), Tensor):
            module.position_ids = torch.arange(positions.shape[-1], device=device)[None]
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if left:
        raise CheckpointError(f"this version of transformers has buffers that are not known here: {', '.join(left)}")
    model.rnn.flatten_parameters()


def runtime_dtype(name: str, encoders: torch.dtype) -> torch.dtype:
    """The encoders run in the chosen precision; fusion, LSTM and head are small and always run in float32."""
    return encoders if name.startswith(("kosmos_model.", "clip_model.")) else torch.float32


def _tensors(
    description: Description, device: torch.device, dtype: torch.dtype, progress: Progress | None
) -> Iterable[tuple[str, Tensor]]:
    total = sum(ref.nbytes for ref in description.tensors.values())
    done = 0
    for name, ref in description.tensors.items():
        if not ref.dtype.is_floating_point:
            raise CheckpointError(f"{description.archive.path}: {name} is stored as {ref.dtype} and not as weights")
        mapped = description.archive.tensor(ref)
        # Cast on the CPU, then move: a copy from mapped memory to a device can pull the whole file into RAM.
        tensor = mapped.to(runtime_dtype(name, dtype))
        if not _is_finite(tensor):
            path = description.archive.path
            raise CheckpointError(
                f"{path}: {name} holds NaN or infinite values; the training diverged or the file is damaged"
            )
        if tensor is not mapped or device.type != "cpu":
            tensor = tensor.to(device)
            description.archive.release(ref)
        yield name, tensor
        done += ref.nbytes
        if progress:
            progress(done, total)


def _is_finite(tensor: Tensor) -> bool:
    # One pass over the weights: a sum is finite unless a value is not, or the sum itself overflows.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())
