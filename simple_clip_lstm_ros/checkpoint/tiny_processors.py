"""Small tokenizers of our own in Hugging Face's layout, so that the tiny profile needs no download."""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPImageProcessor, CLIPTokenizerFast, Kosmos2Processor, XLMRobertaTokenizerFast

# Positions 4 to 4 + latents - 1 stand for the image in Kosmos-2, whatever those ids mean as text.
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_PATCH_TOKENS = 4


def write_tiny_processors(folder: Path) -> None:
    """Write `folder`/kosmos-tiny and `folder`/clip-tiny: one token a character, with the real control tokens."""
    _kosmos(folder / "kosmos-tiny")
    _clip(folder / "clip-tiny")


def _kosmos(folder: Path) -> None:
    characters = ["\u2581", *string.ascii_letters, *string.digits, *string.punctuation]
    tokenizer = Tokenizer(models.Unigram([(token, -1.0) for token in (*_SPECIAL, *characters)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
    processor = Kosmos2Processor(CLIPImageProcessor(), fast, num_patch_index_tokens=_PATCH_TOKENS)
    processor.save_pretrained(folder)


def _clip(folder: Path) -> None:
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
