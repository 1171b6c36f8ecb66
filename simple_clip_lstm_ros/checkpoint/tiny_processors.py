"""Small tokenizers of our own in Hugging Face's layout, so that tiny models need no download."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessor, CLIPTokenizerFast, Kosmos2Processor, XLMRobertaTokenizerFast

# Positions 4 to 4 + latents - 1 stand for the image in Kosmos-2, whatever those ids mean as text.
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_PATCH_TOKENS = 4
_WORD, _CHARACTER = -5.0, -9.0  # log probabilities: a word goes before its letters
_MOST_CLIP_TOKENS = 640


def write_tiny_processors(folder: Path, texts: Sequence[str] = ()) -> None:
    """Write `folder`/kosmos-tiny and `folder`/clip-tiny, with the real control tokens.

    One token a character, and one for each word of `texts`.
    """
    _kosmos(folder / "kosmos-tiny", sorted({word for text in texts for word in re.findall("[a-z]+", text)}))
    _clip(folder / "clip-tiny", texts)


def _kosmos(folder: Path, words: list[str]) -> None:
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
    # As the hub has them, which every version reads: the images' settings in a file of their own. What transformers 5
    # writes, 4 does not read.
    images.save_pretrained(folder)
    config = {"num_patch_index_tokens": _PATCH_TOKENS, "processor_class": "Kosmos2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _clip(folder: Path, texts: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(texts)
    letters = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens = [*letters, *dict.fromkeys(one + other for one, other in merges), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{one} {other}\n" for one, other in merges))
    CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)


def _merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Byte pairs that make the words of `texts` whole."""
    if not texts:
        return []
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=_MOST_CLIP_TOKENS, end_of_word_suffix="</w>", special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator([text.replace(",", " ,") for text in texts], trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
