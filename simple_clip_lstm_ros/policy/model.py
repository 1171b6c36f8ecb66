"""SimpleCLIPLSTM: the encoders and the action model as one module, the one that a checkpoint stores."""

from __future__ import annotations

from torch import Tensor, nn

from simple_clip_lstm_ros.policy.action_model import ActionModel, State
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.encoders import EncodedInstruction, EncoderModel, Pixels


class SimpleCLIPLSTM(EncoderModel, ActionModel):
    """The whole policy as one module, for inference only: parameters need no gradients, dropout is off.

    Build it under `torch.device("meta")` when a checkpoint brings the weights. The encoders may run in a lower
    precision; `feature_fusion`, `rnn` and `actions` always run in float32. Both halves share one flat namespace,
    because the checkpoint's tensors have no prefix for them.
    """

    def __init__(self, config: PolicyConfig) -> None:
        nn.Module.__init__(self)
        self.add_encoders(config)
        self.add_action_model(config)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Pixels, instruction: EncodedInstruction, state: State | None) -> tuple[Tensor, State]:
        """Return (action [1, action_size] before scale and offset, next state) for one frame.

        `state` None starts from zero.
        """
        fused = self.fuse(self.features(pixels, instruction))
        return self.act(fused[None], state)
