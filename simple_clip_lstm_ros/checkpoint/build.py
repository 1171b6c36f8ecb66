"""Build the model of a config without weights, and load weights into it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextSinusoidalPositionalEmbedding

from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.errors import CheckpointError, ConfigError, first_line
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM


def build_model(config: PolicyConfig) -> SimpleCLIPLSTM:
    """Build the model on the meta device: full structure, no memory, no random initialization.

    Raise ConfigError for settings that no model accepts.
    """
    try:
        with torch.device("meta"):
            return SimpleCLIPLSTM(config)
    except Exception as error:  # the exception differs by version of Hugging Face and torch
        raise ConfigError(f"the model cannot be built from these settings: {first_line(error)}") from None


def expected_shapes(model: SimpleCLIPLSTM) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that a checkpoint of this model holds."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load_weights(
    model: SimpleCLIPLSTM, tensors: Iterable[tuple[str, Tensor]], device: torch.device, precision: Precision
) -> None:
    """Assign the parameters of a model on the meta device.

    Also create the buffers that no state dict holds. Raise CheckpointError if this version of transformers has unknown
    buffers.
    """
    model.load_state_dict(dict(tensors), strict=True, assign=True)
    for module in model.modules():
        if isinstance(module, Kosmos2TextSinusoidalPositionalEmbedding):
            count, width = module.weights.shape
            module.weights = module.get_embedding(count, width, module.padding_idx).to(device, precision.compute_dtype)
        elif isinstance(positions := getattr(module, "position_ids", None), Tensor):
            module.position_ids = torch.arange(positions.shape[-1], device=device)[None]
        elif isinstance(module, nn.Embedding):
            # A table that stays mapped may have another dtype: cast rows on lookup.
            module.register_forward_hook(lambda module, ids, rows: rows.to(precision.dtype).to(precision.compute_dtype))
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if left:
        raise CheckpointError(f"this version of transformers has buffers that are not known here: {', '.join(left)}")
    model.rnn.flatten_parameters()
