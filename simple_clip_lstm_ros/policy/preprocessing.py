"""Preprocessing: frames to normalized pixels, instructions to tokens."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, Kosmos2Processor

from simple_clip_lstm_ros.errors import InputError, ProcessorsError, is_text
from simple_clip_lstm_ros.language.instruction import MAX_CHARACTERS, is_stop_phrase
from simple_clip_lstm_ros.policy.config import PolicyConfig
from simple_clip_lstm_ros.policy.encoders import Pixels, Tokens
from simple_clip_lstm_ros.policy.processor_files import HOW_TO_GET, load_processor

logger = logging.getLogger(__name__)

# Mean and standard deviation per channel of pixels in [0, 1].
NORMALIZATIONS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

# Without the image slots. A step's memory grows with the tokens and must be known before a drive, hence a limit.
MAX_TOKENS = 256

# CLIPTextConfig's default, and the value of old configs, for which the model takes the largest id as the end.
_CLIP_EOS = 49407
_CLIP_LEGACY_EOS = 2


class ResizedFrames(NamedTuple):
    """Frames of each encoder's size, uint8 [frames, 3, size, size]; one shared tensor if the sizes are equal."""

    kosmos: torch.Tensor
    clip: torch.Tensor | None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> ResizedFrames:
        """Apply `function` to each tensor; a tensor that serves both encoders is mapped once."""
        kosmos = function(self.kosmos)
        if self.clip is None:
            return ResizedFrames(kosmos, None)
        return ResizedFrames(kosmos, kosmos if self.clip is self.kosmos else function(self.clip))

    @classmethod
    def concat(cls, parts: Sequence[ResizedFrames]) -> ResizedFrames:
        """Return the frames of all `parts`, concatenated; `parts` must not be empty."""
        kosmos = torch.cat([part.kosmos for part in parts])
        clips = [part.clip for part in parts if part.clip is not None]
        same = all(part.clip is part.kosmos for part in parts)
        return cls(kosmos, None if not clips else kosmos if same else torch.cat(clips))


class ImagePreprocessor:
    """Turns frames into pixels as the config says: rotation, channels, crop, bicubic resize, normalization."""

    def __init__(self, config: PolicyConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._config = config
        self._device = device
        self._dtype = dtype
        self._kosmos_size = config.input_size(config.kosmos)
        self._clip_size = config.input_size(config.clip) if config.clip else None
        mean, std = NORMALIZATIONS[config.image_normalization]
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, frame: np.ndarray) -> Pixels:
        """Convert a frame, uint8 [height, width, 3] in RGB, to Pixels. Raise InputError for other arrays."""
        return self.normalize(self.resize(frame))

    def resize(self, frame: np.ndarray) -> ResizedFrames:
        """Orient, crop and resize a frame: the first half of the preprocessing.

        Raise InputError for anything but uint8 [height, width, 3].
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise InputError(f"a frame is uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}")
        image = torch.from_numpy(np.require(self._orient(frame), requirements=["C", "W"])).permute(2, 0, 1)[None]
        kosmos = _resize(image, self._kosmos_size)
        if self._clip_size is None:
            return ResizedFrames(kosmos, None)
        return ResizedFrames(
            kosmos, kosmos if self._clip_size == self._kosmos_size else _resize(image, self._clip_size)
        )

    def normalize(self, frames: ResizedFrames) -> Pixels:
        """Normalize resized frames, one or many: the second half of the preprocessing."""
        return Pixels(*frames.map(self._normalize))

    def _orient(self, frame: np.ndarray) -> np.ndarray:
        if self._config.rotate_180:
            frame = frame[::-1, ::-1]
        if self._config.image_channels == "bgr":
            frame = frame[:, :, ::-1]
        if self._config.image_crop == "center":
            height, width = frame.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            frame = frame[top : top + side, left : left + side]
        return frame

    def _normalize(self, image: torch.Tensor) -> torch.Tensor:
        return ((image.to(self._device).float() / 255.0 - self._mean) / self._std).to(self._dtype)


def _resize(image: torch.Tensor, size: int) -> torch.Tensor:
    # torch resizes uint8 with antialiasing as Pillow does, and the encoders were trained with Pillow.
    return F.interpolate(image, size=(size, size), mode="bicubic", antialias=True)


class InstructionTokenizer:
    """Turns instructions into tokens with Hugging Face's processors from a local folder, never from the network."""

    def __init__(self, folder: Path, config: PolicyConfig, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._kosmos = load_processor(Kosmos2Processor, folder, "kosmos")
        self._clip = load_processor(AutoTokenizer, folder, "clip") if config.clip else None
        if self._clip:
            # transformers 4 attaches a closure over this object that is never collected: 10 MB per load.
            getattr(self._clip.backend_tokenizer, "__dict__", {}).pop("decode", None)
        tokenizers = [self._kosmos.tokenizer] + ([self._clip] if self._clip else [])
        self._control_tokens = {token for tokenizer in tokenizers for token in tokenizer.get_added_vocab()}
        for tokenizer in tokenizers:
            # With files missing, a tokenizer may load without an error and lack all words or special tokens.
            word_ids = set(tokenizer("go forward", add_special_tokens=False)["input_ids"]) - {tokenizer.unk_token_id}
            if tokenizer.unk_token_id is None or not word_ids:
                raise ProcessorsError(f"the tokenizer in {tokenizer.name_or_path} is incomplete; {HOW_TO_GET}")

    def __call__(self, instruction: str) -> Tokens:
        """Return the tokens of `instruction`; log a WARNING if CLIP must truncate it.

        Raise InputError for a text that is blank, too long, not valid text, a stop phrase, or contains control tokens.
        """
        problem = self.validate_instruction(instruction)
        if problem:
            raise InputError(problem)
        kosmos = self._kosmos_tokens(instruction)
        clip = self._clip_tokens(instruction)
        return Tokens(
            kosmos_ids=kosmos["input_ids"],
            kosmos_mask=kosmos["attention_mask"],
            kosmos_image_mask=kosmos["image_embeds_position_mask"],
            clip_ids=clip["input_ids"] if clip else None,
            clip_mask=clip["attention_mask"] if clip else None,
        )

    def validate_instruction(self, instruction: str) -> str:
        """Return why this instruction cannot be used, or an empty string."""
        if not instruction.strip():
            return "the instruction is blank"
        if len(instruction) > MAX_CHARACTERS:
            return f"the instruction is too long: {len(instruction)} characters, at most {MAX_CHARACTERS}"
        if not is_text(instruction):
            return "the instruction contains a NUL or an invalid Unicode character"
        if is_stop_phrase(instruction):
            return f"{instruction.strip()!r} asks the robot to stop: there is no action to compute"
        # The tokenizers may fold case and full-width letters, so compare folded texts.
        folded = _fold(instruction)
        found = sorted(token for token in self._control_tokens if _fold(token) in folded)
        return f"the instruction contains the control token {found[0]}" if found else ""

    def _kosmos_tokens(self, instruction: str) -> dict[str, torch.Tensor]:
        # The processor itself puts `<image>` and the latent slots in front, and needs an image to do so.
        text = self._config.prompt[len("<image>") :].replace("{instruction}", instruction)
        slots = self._config.kosmos["latent_query_num"]
        blank = np.zeros((8, 8, 3), np.uint8)
        batch = self._kosmos(images=blank, text=text, num_image_tokens=slots, return_tensors="pt")
        limit = min(slots + MAX_TOKENS, self._config.kosmos["text_config"].get("max_position_embeddings", 2048))
        length = batch["input_ids"].shape[1]
        if length > limit:
            raise InputError(f"the instruction is too long: {length} tokens with the image, at most {limit}")
        return self._check_ids(batch, "kosmos", self._config.kosmos["text_config"]["vocab_size"])

    def _clip_tokens(self, instruction: str) -> dict[str, torch.Tensor] | None:
        if self._clip is None or self._config.clip is None:
            return None
        text_config = self._config.clip["text_config"]
        limit = text_config["max_position_embeddings"]
        length = len(self._clip(instruction)["input_ids"])
        if length > limit:
            logger.warning("the instruction has %d CLIP tokens and is cut to %d: CLIP reads no further", length, limit)
        batch = self._clip(instruction, truncation=True, max_length=limit, return_tensors="pt")
        end = text_config.get("eos_token_id", _CLIP_EOS)
        if end != _CLIP_LEGACY_EOS and end not in batch["input_ids"]:
            raise ProcessorsError(
                f"the clip tokenizer does not end a text with token {end}, where the checkpoint pools: the processors "
                "belong to another model"
            )
        return self._check_ids(batch, "clip", text_config["vocab_size"])

    def _check_ids(self, batch: Any, encoder: str, vocabulary: int) -> dict[str, torch.Tensor]:
        """Return the int64 tensors of `batch` on the device. Raise ProcessorsError for ids out of vocabulary."""
        largest = int(batch["input_ids"].max())
        if largest >= vocabulary:
            raise ProcessorsError(
                f"the {encoder} tokenizer gives id {largest} but the checkpoint knows {vocabulary} tokens: "
                "the processors belong to another model"
            )
        return {name: batch[name].to(self._device) for name in batch if batch[name].dtype == torch.int64}


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
