"""Finding the policy's tensors and the training's metadata in files of every make."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Model

from simple_clip_lstm_ros.checkpoint.reader import open_checkpoint
from simple_clip_lstm_ros.checkpoint.reference_configs import REFERENCE_CONFIGS
from simple_clip_lstm_ros.errors import CheckpointError

State = dict[str, torch.Tensor]
Save = Callable[..., Path]

LM_HEAD = "kosmos_model.text_model.lm_head.weight"


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model", None])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.model.module."]
)
def test_the_tensors_are_found_under_every_wrapper_and_prefix(
    state: State, save: Save, tiny_shapes: dict, key: str | None, prefix: str
) -> None:
    wrapped: Any = _prefixed(prefix, state)
    info = open_checkpoint(save({key: wrapped, "epoch": 3} if key else wrapped))
    assert info.shapes == tiny_shapes
    assert info.notes == ()
    assert info.metadata == ({"epoch": 3} if key else {})


def test_the_whole_of_kosmos_for_generation_leaves_just_its_lm_head_aside() -> None:
    """The names are Hugging Face's; only one of them is more than Kosmos2Model has."""
    config = Kosmos2Config(**REFERENCE_CONFIGS["published"].kosmos)
    with torch.device("meta"):
        generation = set(Kosmos2ForConditionalGeneration(config).state_dict())
        assert generation - set(Kosmos2Model(config).state_dict()) == {LM_HEAD.removeprefix("kosmos_model.")}
    assert len(generation) == 886


@pytest.mark.parametrize("tied", [True, False])
def test_an_lm_head_is_left_aside_with_a_note(state: State, save: Save, tiny_shapes: dict, tied: bool) -> None:
    embedding = state["kosmos_model.text_model.model.embed_tokens.weight"]
    info = open_checkpoint(save(state | {LM_HEAD: embedding if tied else torch.ones_like(embedding)}))
    assert info.shapes == tiny_shapes
    (note,) = info.notes
    assert note.startswith(LM_HEAD)
    assert "left aside" in note


def test_position_ids_of_old_files_are_left_aside_with_a_note_each(state: State, save: Save, tiny_shapes: dict) -> None:
    buffers = {
        f"{tower}.embeddings.position_ids": torch.arange(17)[None]
        for tower in ("kosmos_model.vision_model.model", "clip_model.text_model", "clip_model.vision_model")
    }
    info = open_checkpoint(save(_prefixed("module.", state | buffers)))
    assert info.shapes == tiny_shapes
    assert [note.partition(" ")[0] for note in info.notes] == list(buffers)


def test_a_name_that_stands_there_twice_is_refused(state: State, save: Save) -> None:
    with pytest.raises(CheckpointError, match=r"actions\.mlp\.0\.bias twice"):
        open_checkpoint(save(state | {"module.actions.mlp.0.bias": torch.ones(32)}))


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), "text", 5, None], ids=repr)
def test_a_file_without_a_dict_is_refused(save: Save, content: Any) -> None:
    with pytest.raises(CheckpointError, match="not a dict"):
        open_checkpoint(save(content))


@pytest.mark.parametrize("config", ["clip", ["a"], 3], ids=repr)
def test_a_policy_config_that_is_no_dict_is_refused(content: dict, save: Save, config: Any) -> None:
    with pytest.raises(CheckpointError, match=r"policy_config is a (str|list|int)"):
        open_checkpoint(save(content | {"policy_config": config}))


def test_what_the_training_wrote_is_told_in_plain_values(content: dict, save: Save) -> None:
    content |= {
        "epoch": np.int64(17),
        "val_mae": np.float32(0.25),
        "args": argparse.Namespace(
            data=Path("/data/run 1"), out=PureWindowsPath("D:/out"), lr=np.float64(1e-4), amp=True
        ),
    }
    metadata = open_checkpoint(save(content)).metadata
    assert metadata == {
        "epoch": 17,
        "val_mae": 0.25,
        "args": {"data": "/data/run 1", "out": "D:\\out", "lr": 1e-4, "amp": True},
    }


def test_metadata_of_any_make_can_be_written_as_json(content: dict, save: Save) -> None:
    content |= {
        "hyper_parameters": {"data": Path("/data"), "sizes": (1, 2), "nested": {"path": Path("/x"), 3: None}},
        "ema": {"decay": 0.99, "shadow": {"w": torch.ones(2)}},
        "scheduler_state_dict": {"base_lrs": [1e-4], "_step_count": np.int64(4)},
        "args": argparse.Namespace(layers=[1, 2], inner=argparse.Namespace(path=Path("/y"))),
        "dtype": torch.float16,
        "rng": torch.zeros(4, dtype=torch.uint8),
    }
    metadata = open_checkpoint(save(content)).metadata
    assert json.loads(json.dumps(metadata))["hyper_parameters"]["data"] == "/data"


def test_the_optimizer_is_no_part_of_the_model(content: dict, save: Save, tiny_shapes: dict) -> None:
    content["optimizer_state_dict"]["state"][0]["exp_avg"] = torch.full((1,), float("nan"))
    info = open_checkpoint(save(content))
    assert info.shapes == tiny_shapes
    assert "optimizer_state_dict" not in info.metadata
