"""The action model: fusion, LSTM and head turn the encoders' features into an action.

Only the LSTM has a memory of earlier frames. Everything here is small and float32, whatever the encoders' precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simple_clip_lstm_ros.policy.config import PolicyConfig

State = tuple[Tensor, Tensor]  # h and c of the LSTM, each [layers, 1, hidden]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class ActionHead(nn.Module):
    """The MLP head that maps the LSTM's output to an action.

    In `config.mlp` a 2-D shape is a Linear, a 1-D shape a LayerNorm; gaps are parameter-free modules.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.mlp_activation]
        self.final_tanh = config.final_tanh
        self.mlp = nn.ModuleDict()
        for index, shape in sorted(config.mlp.items()):
            self.mlp[str(index)] = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.LayerNorm(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, rnn_hidden_size] to [1, action_size]; the activation precedes each Linear but the first."""
        for position, module in enumerate(self.mlp.values()):
            if position and isinstance(module, nn.Linear):
                x = self.activation(x)
            x = module(x)
        return torch.tanh(x) if self.final_tanh else x


class ActionModel(nn.Module):
    """Fusion, LSTM and head. Submodules have the names of the checkpoint's tensors."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.add_action_model(config)

    def add_action_model(self, config: PolicyConfig) -> None:
        """Create the modules from the features to the action."""
        self.config = config
        self.feature_fusion = nn.Linear(config.feature_size, config.fusion_size) if config.fusion_size else None
        self.rnn = nn.LSTM(config.rnn_input_size, config.rnn_hidden_size, config.rnn_num_layers, batch_first=True)
        self.actions = ActionHead(config)

    def fuse(self, features: dict[str, Tensor]) -> Tensor:
        """Return the fused vector, float32 [1, rnn_input_size]."""
        joined = torch.cat([features[name].float() for name in self.config.features], dim=-1)
        return self.feature_fusion(joined) if self.feature_fusion is not None else joined

    def act(self, fused: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Map [1, frames, rnn_input_size] to (action of the last frame [1, action_size], state after it)."""
        hidden, state = self.rnn(fused, state)
        return self.actions(hidden[:, -1]), state
