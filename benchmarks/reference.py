"""Compare the policy with a plain composition of Hugging Face's modules and nn.LSTM, at full size in float32.

    python benchmarks/reference.py CHECKPOINT --processors DIR

Steps both on the same frames with carried state and prints the largest difference of features, hidden state and
action. Needs memory for a second copy of the encoders; `test/policy/test_model.py` does the same with a small model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, Kosmos2Config, Kosmos2Model

from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.policy.sample_images import sample_crops

_INSTRUCTION = "go to the red box on the left"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processors", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=3)
    args = parser.parse_args()
    policy = load_policy(args.checkpoint, processors=args.processors)
    outputs: list[tuple] = []  # hidden state and action of each frame
    policy.model.actions.register_forward_hook(lambda module, args, result: outputs.append((args[0], result)))
    inputs: list[tuple] = []  # pixels, instruction and features of each frame
    features = policy.model.features
    policy.model.features = lambda *args: inputs.append((*args, features(*args))) or inputs[-1][-1]
    for frame in sample_crops(args.frames):
        policy.step(frame, _INSTRUCTION)
    _compare(args.checkpoint, policy.config, inputs, outputs)


@torch.inference_mode()
def _compare(checkpoint: Path, config, inputs: list[tuple], outputs: list[tuple]) -> None:
    state = torch.load(checkpoint, weights_only=False, mmap=True)["model_state_dict"]

    def load_module(prefix: str, module: nn.Module) -> nn.Module:
        own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        module.load_state_dict(own, strict=True)
        return module.eval()

    kosmos = load_module("kosmos_model.", Kosmos2Model(Kosmos2Config(**config.kosmos, attn_implementation="eager")))
    clip = load_module("clip_model.", CLIPModel(CLIPConfig(**config.clip)))
    fusion = load_module("feature_fusion.", nn.Linear(config.feature_size, config.fusion_size))
    rnn = nn.LSTM(config.fusion_size, config.rnn_hidden_size, config.rnn_num_layers, batch_first=True)
    load_module("rnn.", rnn)
    fused, worst = [], 0.0
    for pixels, instruction, features in inputs:
        tokens = instruction.tokens
        text = kosmos(
            pixel_values=pixels.kosmos,
            input_ids=tokens.kosmos_ids,
            attention_mask=tokens.kosmos_mask,
            image_embeds_position_mask=tokens.kosmos_image_mask,
        )
        vision = clip.vision_model(pixels.clip).pooler_output
        clip_text = clip.text_model(tokens.clip_ids, attention_mask=tokens.clip_mask).pooler_output
        expected = {
            "kosmos_text": text.last_hidden_state.mean(dim=1),
            "kosmos_vision": kosmos.vision_model(pixels.kosmos).pooler_output,
            "clip_vision": vision,
            "clip_image_embeds": clip.visual_projection(vision),
            "clip_text_embeds": clip.text_projection(clip_text),
        }
        worst = max(worst, *((features[name] - expected[name]).abs().max().item() for name in config.features))
        fused.append(fusion(torch.cat([expected[name] for name in config.features], dim=-1)))
    hidden = rnn(torch.stack(fused, dim=1))[0][0]
    x = hidden
    for index, shape in sorted(config.mlp.items()):
        weight, bias = state[f"actions.mlp.{index}.weight"], state[f"actions.mlp.{index}.bias"]
        if len(shape) == 1:
            x = F.layer_norm(x, shape, weight, bias)
        else:
            x = F.linear(x if index == 0 else F.relu(x), weight, bias)
    hidden_error = (torch.cat([each for each, _ in outputs]) - hidden).abs().max().item()
    action_error = (torch.cat([each for _, each in outputs]) - x).abs().max().item()
    print(f"largest difference over {len(outputs)} frames: features {worst:.1e}, hidden {hidden_error:.1e}, ", end="")
    print(f"action {action_error:.1e}")


if __name__ == "__main__":
    main()
