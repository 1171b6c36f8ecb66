"""Write checkpoints with random weights in the exact format of a training run, for demos, tests and benchmarks.

The encoders' weights are drawn with unit gain and stay so. Only the last layer of the head is scaled, on real
photographs, so that actions differ from frame to frame: a constant output would hide every error.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTokenizerFast, Kosmos2Processor, XLMRobertaTokenizerFast

from simple_clip_lstm_ros.checkpoint.build import build_model, load_weights
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.checkpoint.save import LazyTensor, atomic_checkpoint, check_free, processors_of, write_archive
from simple_clip_lstm_ros.engine.cpu import has_native_bf16
from simple_clip_lstm_ros.engine.precision import Precision
from simple_clip_lstm_ros.errors import ConfigError
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.encoders import EncodedInstruction, Tokens
from simple_clip_lstm_ros.policy.model import SimpleCLIPLSTM
from simple_clip_lstm_ros.policy.preprocessing import ImagePreprocessor
from simple_clip_lstm_ros.policy.sample_images import sample_crops

CALIBRATION_FRAMES = 32
_ACTION_STD = 0.3  # per axis; below 0.1 an error of the model could stay hidden
_HEAD = ("feature_fusion.", "rnn.", "actions.")

Report = Callable[[str, int, int], None]  # activity, amount done, total amount


def write_random_checkpoint(profile: str, path: str | Path, *, seed: int = 0, report: Report | None = None) -> None:
    """Write a checkpoint of a reference config to `path`, marked as untrained.

    The tiny profile also gets `path`.processors. Needs the disk space of the file (checked beforehand) and memory for
    the encoders while the head is calibrated: in bfloat16, or in float32 on a CPU without native bfloat16. Raise
    ConfigError for an unknown profile, CheckpointError for a path that cannot be written.
    """
    if profile not in REFERENCE_CONFIGS:
        raise ConfigError(f"unknown profile {profile!r}; there are {', '.join(REFERENCE_CONFIGS)}")
    config = REFERENCE_CONFIGS[profile]
    path = Path(path)
    weights = _weights(build_model(config), seed)
    optimizer = _optimizer_state([tensor for name, tensor in weights.items() if name.startswith(_HEAD)])
    content = {
        "epoch": 0,
        "model_state_dict": weights,
        "optimizer_state_dict": optimizer,
        "val_mae": float("nan"),
        "args": argparse.Namespace(profile=profile, seed=seed),
        "policy_config": config.to_dict(),
    }
    total = sum(tensor.nbytes for tensor in _lazy_tensors(content))
    check_free(path, total)
    report = report or (lambda what, done, total: None)
    _calibrate(weights, config, seed, report)
    _write(path, content, total, report, with_processors=profile == "tiny")


def _write(path: Path, content: Any, total: int, report: Report, *, with_processors: bool) -> None:
    """Write the file, and remove what a failed attempt leaves."""
    done = 0

    def on_written(count: int) -> None:
        nonlocal done
        done += count
        report("writing", done, total)

    with atomic_checkpoint(path) as partial:
        write_archive(partial, content, on_written)
        if with_processors:
            write_tiny_processors(processors_of(path))


def _weights(model: SimpleCLIPLSTM, seed: int) -> OrderedDict[str, LazyTensor]:
    """Return the state dict with one generator per tensor, so that order does not matter."""
    weights = OrderedDict()
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        generator_seed = zlib.crc32(f"{seed}:{name}".encode())
        weights[name] = LazyTensor(shape, partial(_draw_tensor, name, shape, generator_seed))
    return weights


def _draw_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw a tensor from its seed.

    Matrices are normal with unit gain (std = fan_in ** -0.5), embeddings normal with std 0.02, the rest ones and zeros.
    """
    if name == "clip_model.logit_scale":
        return torch.tensor(2.6592)
    if len(shape) < 2 and not name.endswith("class_embedding"):
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    is_embedding = "embed_tokens" in name or ("embedding" in name and "patch" not in name) or "latent_query" in name
    std = 0.02 if is_embedding else torch.Size(shape[1:]).numel() ** -0.5
    # The LSTM's gates halve their input; the gain keeps frames distinguishable through four layers.
    gain = 2.0 if name.startswith("rnn.") else 1.0
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * (std * gain)


def _optimizer_state(trained: list[LazyTensor]) -> dict[str, Any]:
    """Return AdamW state for the head, as in the original trainer's files: the encoders were frozen."""

    def zeros(shape: tuple[int, ...]) -> LazyTensor:
        return LazyTensor(shape, partial(torch.zeros, shape))

    state = {
        index: {"step": zeros(()), "exp_avg": zeros(tensor.shape), "exp_avg_sq": zeros(tensor.shape)}
        for index, tensor in enumerate(trained)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "params": list(range(len(trained)))}
    return {"state": state, "param_groups": [group]}


def _lazy_tensors(content: Any) -> Iterator[LazyTensor]:
    if isinstance(content, LazyTensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _lazy_tensors(value)


def _calibrate(weights: OrderedDict[str, LazyTensor], config: PolicyConfig, seed: int, report: Report) -> None:
    """Scale and center the last Linear of the head.

    Afterwards each axis has a standard deviation of `_ACTION_STD`.
    """
    outputs = _outputs(weights, config, seed, report)
    scale = _ACTION_STD / outputs.std(dim=1).min(dim=0).values
    bias = -outputs.mean(dim=(0, 1)) * scale
    last = f"actions.mlp.{max(config.mlp)}"
    draw = weights[f"{last}.weight"].make
    weights[f"{last}.weight"] = LazyTensor(weights[f"{last}.weight"].shape, lambda: draw() * scale[:, None])
    weights[f"{last}.bias"] = LazyTensor(weights[f"{last}.bias"].shape, lambda: bias)


@torch.inference_mode()
def _outputs(weights: OrderedDict[str, LazyTensor], config: PolicyConfig, seed: int, report: Report) -> Tensor:
    """Return head outputs on the calibration frames, [2, frames, axes].

    The first row has a fresh state per frame, the second a carried state.
    """
    model, device = build_model(config), torch.device("cpu")
    precision = Precision("bf16", torch.bfloat16) if has_native_bf16() else Precision("fp32", torch.float32)
    drawn = ((name, tensor.make().to(precision.dtype_of(name, ()))) for name, tensor in weights.items())
    load_weights(model, _report_each(drawn, len(weights), report), device, precision)
    instruction = _placeholder_instruction(model, config)
    images = ImagePreprocessor(config, device, precision.compute_dtype)
    fresh, carried, state = [], [], None
    for index, frame in enumerate(sample_crops(CALIBRATION_FRAMES, seed=seed)):
        fused = model.fuse(model.features(images(frame), instruction))
        fresh.append(model.act(fused[None], None)[0])
        action, state = model.act(fused[None], state)
        carried.append(action)
        report("calibrating the head", index + 1, CALIBRATION_FRAMES)
    return torch.stack((torch.cat(fresh), torch.cat(carried))).clone()


def _report_each(items: Iterator[tuple[str, Tensor]], total: int, report: Report) -> Iterator[tuple[str, Tensor]]:
    for index, item in enumerate(items):
        report("drawing weights", index + 1, total)
        yield item


def _placeholder_instruction(model: SimpleCLIPLSTM, config: PolicyConfig) -> EncodedInstruction:
    """Encode a few arbitrary tokens, so that a full-size profile needs no tokenizer."""
    latents = config.kosmos["latent_query_num"]
    slots = torch.tensor([[0, 0] + [1] * latents + [0] * 8])
    ids = torch.arange(slots.shape[1])[None] + 4
    clip = config.clip["text_config"] if config.clip else {"vocab_size": 2}
    clip_ids = torch.tensor([[clip["vocab_size"] - 2, 5, 6, 7, clip["vocab_size"] - 1]])
    tokens = Tokens(ids, torch.ones_like(ids), slots, clip_ids, torch.ones_like(clip_ids))
    return model.encode_instruction(tokens)


# Positions 4 to 4 + latents - 1 represent the image in Kosmos-2, independent of those ids as text.
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_PATCH_TOKENS = 4
_WORD, _CHARACTER = -5.0, -9.0  # log probabilities: a word is preferred over its letters
_MAX_CLIP_TOKENS = 640


def write_tiny_processors(folder: Path, texts: Sequence[str] = ()) -> None:
    """Write `folder`/kosmos-tiny and `folder`/clip-tiny, with the real control tokens.

    They have one token per character, and one for each word of `texts`.
    """
    _write_kosmos(folder / "kosmos-tiny", sorted({word for text in texts for word in re.findall("[a-z]+", text)}))
    _write_clip(folder / "clip-tiny", texts)


def _write_kosmos(folder: Path, words: list[str]) -> None:
    characters = ["\u2581", *string.ascii_letters, *string.digits, *string.punctuation]
    tokens = [(token, -1.0) for token in _SPECIAL]
    tokens += [(f"\u2581{word}", _WORD) for word in words]
    tokens += [(character, _CHARACTER) for character in characters if f"\u2581{character}" not in words]
    tokenizer = Tokenizer(models.Unigram(tokens, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
    images = CLIPImageProcessor()
    Kosmos2Processor(images, fast, num_patch_index_tokens=_PATCH_TOKENS).save_pretrained(folder)
    # Use the hub's layout, with the image settings in their own file: transformers 4 cannot read what 5 writes, but
    # every version reads this.
    images.save_pretrained(folder)
    config = {"num_patch_index_tokens": _PATCH_TOKENS, "processor_class": "Kosmos2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _write_clip(folder: Path, texts: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(texts)
    letters = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens = [*letters, *dict.fromkeys(one + other for one, other in merges), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{one} {other}\n" for one, other in merges))
    CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)


def _merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the byte pairs that merge each word of `texts` into one token."""
    if not texts:
        return []
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_CLIP_TOKENS, end_of_word_suffix="</w>", special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator([text.replace(",", " ,") for text in texts], trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
