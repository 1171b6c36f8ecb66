"""Frames to pixels and texts to tokens, measured against Hugging Face's own processors."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessor, Kosmos2Processor

from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.errors import InputError, ProcessorsError
from simple_clip_lstm_ros.policy.preprocessing import (
    MAX_TOKENS,
    NORMALIZATIONS,
    ImagePreprocessor,
    InstructionTokenizer,
)
from simple_clip_lstm_ros.policy.processor_files import find_processors

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
REAL_PROCESSORS = Path(os.environ.get("REAL_PROCESSORS", ROOT.parent / "shared" / "processors"))


def pixels(config, frame, dtype=torch.float32, **recipe):
    return ImagePreprocessor(replace(config, **recipe), CPU, dtype)(frame)


def within_a_grey_level(pixels, expected, std):
    off = (pixels - torch.as_tensor(np.asarray(expected))).abs().amax(dim=(0, 2, 3))
    return bool((off <= 1.001 / 255.0 / torch.tensor(std)).all())


# Pixels


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_pixels_equal_those_of_the_hugging_face_processor(normalization, tiny_config, frames):
    mean, std = NORMALIZATIONS[normalization]
    for frame in frames:
        ours = pixels(tiny_config, frame, image_normalization=normalization)
        for size, own in ((56, ours.kosmos), (64, ours.clip)):
            squash = {"size": {"height": size, "width": size}, "do_center_crop": False}
            theirs = CLIPImageProcessor(**squash, image_mean=mean, image_std=std)(frame, return_tensors="np")
            assert own.shape == (1, 3, size, size)
            assert within_a_grey_level(own, theirs["pixel_values"], std)


def test_each_normalisation_maps_white_and_black_as_it_says(tiny_config):
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    for name, red_of_black, red_of_white in (
        ("clip", -0.48145466 / 0.26862954, (1 - 0.48145466) / 0.26862954),
        ("imagenet", -0.485 / 0.229, (1 - 0.485) / 0.229),
        ("unit", 0.0, 1.0),
    ):
        reds = [pixels(tiny_config, frame, image_normalization=name).kosmos[0, 0].unique() for frame in (black, white)]
        assert torch.cat(reds).tolist() == pytest.approx([red_of_black, red_of_white], rel=1e-5), name


def same(ours, theirs):
    return torch.equal(ours.kosmos, theirs.kosmos) and torch.equal(ours.clip, theirs.clip)


@pytest.mark.parametrize(
    ("recipe", "changed"),
    [
        ({"rotate_180": True}, lambda frame: np.rot90(frame, 2)),
        ({"image_channels": "bgr"}, lambda frame: frame[:, :, ::-1]),
        ({"image_crop": "center"}, lambda frame: frame[:, 40:280]),
        (
            {"rotate_180": True, "image_channels": "bgr", "image_crop": "center"},
            lambda frame: np.rot90(frame, 2)[:, 40:280, ::-1],
        ),
    ],
    ids=["rotate_180", "bgr", "center crop", "all three"],
)
def test_a_recipe_option_does_what_it_says_and_no_more(recipe, changed, tiny_config, frames):
    colour = frames[0]
    assert colour.shape == (240, 320, 3) and (colour[:, :, 0] != colour[:, :, 2]).any()
    assert same(pixels(tiny_config, colour, **recipe), pixels(tiny_config, np.ascontiguousarray(changed(colour))))
    assert not same(pixels(tiny_config, colour, **recipe), pixels(tiny_config, colour))


def test_the_centre_of_an_upright_frame_is_cropped_along_its_height(tiny_config, frames):
    upright = frames[0][:, :101]
    cropped = pixels(tiny_config, upright, image_crop="center")
    assert same(cropped, pixels(tiny_config, upright[69 : 69 + 101]))


def test_pixels_come_in_the_dtype_of_the_encoders(tiny_config, frames):
    half = pixels(tiny_config, frames[0], torch.bfloat16)
    assert half.kosmos.dtype == half.clip.dtype == torch.bfloat16
    assert torch.equal(half.kosmos, pixels(tiny_config, frames[0]).kosmos.bfloat16())


def test_without_clip_there_are_no_clip_pixels(tiny_config, frames):
    assert pixels(tiny_config, frames[0], clip=None, features=("kosmos_text",)).clip is None


# Tokens


def ids(tokens):
    return tokens.kosmos_ids[0].tolist()


@pytest.mark.parametrize("text", ["go left", "  go   left!  ", "Go to (3, 4), then stop", "x" * 70])
@pytest.mark.parametrize("prompt", ["<image>{instruction}", "<image><grounding>{instruction} now"])
def test_tokens_equal_those_of_the_hugging_face_processors(text, prompt, tiny_config, processors):
    tokens = InstructionTokenizer(processors, replace(tiny_config, prompt=prompt), CPU)(text)
    kosmos = Kosmos2Processor.from_pretrained(processors / "kosmos-tiny")
    written = prompt.removeprefix("<image>").replace("{instruction}", text)
    image = np.zeros((20, 30, 3), np.uint8)
    theirs = kosmos(images=image, text=written, num_image_tokens=8, return_tensors="pt")
    assert torch.equal(tokens.kosmos_ids, theirs["input_ids"])
    assert torch.equal(tokens.kosmos_mask, theirs["attention_mask"])
    assert torch.equal(tokens.kosmos_image_mask, theirs["image_embeds_position_mask"])
    assert tokens.kosmos_image_mask.tolist()[0][:11] == [0, 0, *[1] * 8, 0]
    clip = AutoTokenizer.from_pretrained(processors / "clip-tiny")(text, return_tensors="pt")
    assert torch.equal(tokens.clip_ids, clip["input_ids"]) and torch.equal(tokens.clip_mask, clip["attention_mask"])


def test_an_instruction_may_contain_the_placeholder_of_the_prompt(tiny_config, processors):
    texts = InstructionTokenizer(processors, tiny_config, CPU)
    assert ids(texts("{instruction}")) != ids(texts("instruction"))


def test_a_text_beyond_77_clip_tokens_is_cut_with_a_warning_and_its_end_kept(tiny_config, processors, caplog):
    texts = InstructionTokenizer(processors, tiny_config, CPU)
    with caplog.at_level(logging.WARNING):
        assert texts("x" * 75).clip_ids.shape == (1, 77)
        assert not caplog.records
        cut = texts("x" * 76)
    assert cut.clip_ids.shape == cut.clip_mask.shape == (1, 77)
    assert cut.clip_ids[0, -1] == 513
    assert cut.kosmos_ids.shape[1] > 76, "only CLIP reads no further"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "78 CLIP tokens" in record.getMessage()


def with_vocabulary(config, encoder, tower, **changes):
    settings = getattr(config, encoder)
    return replace(config, **{encoder: {**settings, tower: {**settings[tower], **changes}}})


@pytest.mark.parametrize("encoder", ["kosmos", "clip"])
def test_a_tokenizer_with_ids_beyond_the_vocabulary_is_refused(encoder, tiny_config, processors):
    small = with_vocabulary(tiny_config, encoder, "text_config", vocab_size=60)
    with pytest.raises(ProcessorsError, match=f"{encoder} tokenizer .*id .*another"):
        InstructionTokenizer(processors, small, CPU)("xyz")


def test_a_tokenizer_that_ends_texts_otherwise_than_the_checkpoint_is_refused(tiny_config, processors):
    other = with_vocabulary(tiny_config, "clip", "text_config", eos_token_id=500)
    with pytest.raises(ProcessorsError, match=r"token 500.*another"):
        InstructionTokenizer(processors, other, CPU)("go left")


def test_the_legacy_end_of_old_configs_is_accepted(tiny_config, processors):
    old = with_vocabulary(tiny_config, "clip", "text_config", eos_token_id=2)
    assert InstructionTokenizer(processors, old, CPU)("go left").clip_ids[0, -1] == 513


def test_a_text_longer_than_the_model_reads_is_refused(tiny_config, processors):
    short = with_vocabulary(tiny_config, "kosmos", "text_config", max_position_embeddings=20)
    texts = InstructionTokenizer(processors, short, CPU)
    texts("go left")
    with pytest.raises(InputError, match=r"too long: .* at most 20"):
        texts("go left and then right")


def test_a_text_that_would_need_more_memory_than_was_predicted_is_refused(tiny_config, processors):
    """A character or so is a token to the tiny tokenizer; 2000 are allowed."""
    texts, slots = InstructionTokenizer(processors, tiny_config, CPU), tiny_config.kosmos["latent_query_num"]
    longest = slots + MAX_TOKENS
    with pytest.raises(InputError, match=rf"too long: \d+ tokens .*at most {longest}$"):
        texts("qzxj " * 200)
    assert texts("qzxj " * 40).kosmos_ids.shape[1] <= longest


# Where processors come from


@pytest.fixture
def copied(processors, tmp_path):
    return Path(shutil.copytree(processors, tmp_path / "copied"))


def assert_refused_with_advice(folder, config, *words):
    with pytest.raises(ProcessorsError) as caught:
        InstructionTokenizer(folder, config, CPU)
    message = str(caught.value)
    assert "\n" not in message and "hf download" in message and "microsoft/kosmos-2-patch14-224" in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("encoder", ["kosmos", "clip"])
def test_a_missing_subfolder_is_refused_with_advice(encoder, copied, tiny_config):
    shutil.rmtree(copied / f"{encoder}-tiny")
    assert_refused_with_advice(copied, tiny_config, str(copied), encoder)


BROKEN = {"cut off": lambda text: text[:-40], "empty": lambda text: "", "no mapping": lambda text: "[]"}
JSON_FILES = [
    ("kosmos-tiny", "tokenizer.json"),
    ("kosmos-tiny", "tokenizer_config.json"),
    ("kosmos-tiny", "processor_config.json"),
    ("clip-tiny", "tokenizer.json"),
    ("clip-tiny", "tokenizer_config.json"),
]


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize(("folder", "name"), JSON_FILES, ids=map("/".join, JSON_FILES))
def test_a_broken_file_is_refused_with_advice(folder, name, damage, copied, tiny_config):
    file = copied / folder / name
    file.write_text(BROKEN[damage](file.read_text()))
    assert_refused_with_advice(copied, tiny_config, str(copied), folder.removesuffix("-tiny"))


GONE = [
    ("kosmos-tiny", ("tokenizer.json",)),
    ("kosmos-tiny", ("tokenizer_config.json",)),
    ("clip-tiny", ("tokenizer.json", "vocab.json", "merges.txt")),
]


@pytest.mark.parametrize(("folder", "names"), GONE, ids=str)
def test_a_folder_whose_vocabulary_is_gone_is_refused_rather_than_read_as_unknown_words(
    folder, names, copied, tiny_config
):
    for name in names:
        (copied / folder / name).unlink()
    assert_refused_with_advice(copied, tiny_config, str(copied), folder.removesuffix("-tiny"))


def test_without_clip_no_clip_processor_is_needed(copied, tiny_config):
    shutil.rmtree(copied / "clip-tiny")
    tokens = InstructionTokenizer(copied, replace(tiny_config, clip=None, features=("kosmos_text",)), CPU)("go left")
    assert tokens.clip_ids is None and tokens.clip_mask is None


def test_processors_are_sought_inside_the_checkpoint_then_beside_it_then_in_its_folder(tmp_path):
    checkpoint = tmp_path / "bundle"
    places = [tmp_path / "processors", tmp_path / "bundle.processors", checkpoint / "processors"]
    for place in places:
        place.mkdir(parents=True)
        assert find_processors(checkpoint) == place
    other = tmp_path / "other"
    other.mkdir()
    assert find_processors(checkpoint, other) == find_processors(checkpoint, str(other)) == other


def test_missing_processors_are_refused_with_the_places_tried_and_advice(tmp_path):
    with pytest.raises(ProcessorsError) as caught:
        find_processors(tmp_path / "a.pth")
    assert str(tmp_path / "a.pth.processors") in str(caught.value) and "hf download" in str(caught.value)
    (tmp_path / "processors").mkdir()
    with pytest.raises(ProcessorsError, match=f"{tmp_path}/typo"):
        find_processors(tmp_path / "a.pth", tmp_path / "typo")


def test_hugging_face_is_offline_before_its_libraries_are_imported():
    code = (
        "import os, sys, simple_clip_lstm_ros; assert 'huggingface_hub' not in sys.modules;"
        "import huggingface_hub.constants as hub; print(os.environ['HF_HUB_OFFLINE'], hub.HF_HUB_OFFLINE)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.stdout.split() == ["1", "True"], child.stderr


@pytest.mark.skipif(not REAL_PROCESSORS.is_dir(), reason=f"no copy of the real tokenizers at {REAL_PROCESSORS}")
def test_the_real_tokenizers_give_the_ids_that_are_known():
    config = replace(REFERENCE_CONFIGS["seed"], prompt="<image><grounding>{instruction}")
    texts = InstructionTokenizer(REAL_PROCESSORS, config, CPU)
    assert ids(texts("An image of")) == [0, 64003, *range(4, 68), 64004, 64012, 712, 1648, 9]
    assert texts("a photo of a cat").clip_ids.tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407]]
    assert texts.validate_instruction("go <patch_index_1023>") and not texts.validate_instruction("go left")
