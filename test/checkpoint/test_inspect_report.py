"""What `inspect` tells of a file, from its names and shapes alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simple_clip_lstm_ros.checkpoint.inspect_report import build_report
from simple_clip_lstm_ros.checkpoint.load import load_policy
from simple_clip_lstm_ros.errors import CheckpointError
from simple_clip_lstm_ros.policy.config import PREPROCESSING

State = dict[str, torch.Tensor]
Save = Callable[..., Path]


def test_every_component_is_counted(tiny: Path, state: State) -> None:
    found = build_report(tiny, {})
    assert found["keys"] == len(state)
    assert found["parameters"] == sum(tensor.numel() for tensor in state.values())
    assert found["bytes"] == tiny.stat().st_size
    assert [row["name"] for row in found["components"]] == [
        "kosmos_model", "clip_model", "feature_fusion", "rnn", "actions",
    ]  # fmt: skip
    for row in found["components"]:
        own = [tensor for name, tensor in state.items() if name.startswith(f"{row['name']}.")]
        assert row["tensors"] == len(own)
        assert row["parameters"] == sum(tensor.numel() for tensor in own)


def test_layers_and_widths_are_those_of_the_model(tiny: Path) -> None:
    structure = {row["name"]: row["structure"] for row in build_report(tiny, {})["components"]}
    model = load_policy(tiny).model
    text = model.kosmos_model.text_model.model
    assert f"text {len(text.layers)} layers x {text.embed_tokens.weight.shape[1]}" in structure["kosmos_model"]
    fusion, rnn = model.feature_fusion, model.rnn
    assert structure["feature_fusion"] == f"{fusion.in_features} -> {fusion.out_features}"
    assert f"{rnn.num_layers} layers, {rnn.input_size} -> {rnn.hidden_size}" in structure["rnn"]
    assert structure["actions"].count("Linear") == 3
    assert structure["actions"].count("LayerNorm") == 2
    assert structure["actions"].endswith("-> 2")


def test_mixed_dtypes_are_listed(state: State, save: Save) -> None:
    name = "clip_model.text_projection.weight"
    found = build_report(save(state | {name: state[name].half()}), {})
    assert next(row["dtypes"] for row in found["components"] if row["name"] == "clip_model") == ["float16", "float32"]


def test_a_synthetic_file_is_untrained_and_leaves_nothing_open(tiny: Path) -> None:
    found = build_report(tiny, {})
    assert found["untrained"] is True
    assert found["assumed"] == []
    assert found["problem"] == ""


def test_a_file_that_states_nothing_lists_what_is_assumed_with_the_alternatives(state: State, save: Save) -> None:
    found = build_report(save(state), {})
    assumed = {row["setting"]: row for row in found["assumed"]}
    assert found["untrained"] is False
    assert set(PREPROCESSING) - {"window_size"} <= set(assumed)
    assert assumed["kosmos_text_pooling"]["value"] == "mean"
    assert set(assumed["kosmos_text_pooling"]["alternatives"]) == {"last", "first"}
    assert set(assumed["image_normalization"]["alternatives"]) == {"imagenet", "unit"}
    assert all(row["alternatives"] for row in assumed.values())


def test_the_alternatives_of_the_features_are_all_other_lists_that_fit(state: State, save: Save) -> None:
    path = save(state)
    found = build_report(path, {})
    (row,) = [row for row in found["assumed"] if row["setting"] == "features"]
    assert row["value"] == found["features"]
    assert " + ".join(row["value"]) not in row["alternatives"]
    for alternative in row["alternatives"]:
        features = alternative.split(" + ")
        assert build_report(path, {"features": features})["features"] == features
    unlisted = ["kosmos_text", "clip_vision"]
    assert "add up to" in build_report(path, {"features": unlisted})["problem"]


def test_what_the_user_states_is_no_longer_assumed(state: State, save: Save) -> None:
    found = build_report(save(state), {"prompt": "<image>{instruction}."})
    assert "prompt" not in {row["setting"] for row in found["assumed"]}
    assert found["policy_config"]["prompt"] == "<image>{instruction}."


def test_notes_and_metadata_are_told(content: dict, save: Save) -> None:
    embedding = content["model_state_dict"]["kosmos_model.text_model.model.embed_tokens.weight"]
    content["model_state_dict"]["kosmos_model.text_model.lm_head.weight"] = embedding
    found = build_report(save(content | {"epoch": 41}), {})
    assert found["metadata"]["epoch"] == 41
    assert any("lm_head" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rnn.weight_ih_l0": torch.ones(192, 95)}, "rnn: 1 of the wrong shape"),
        ({"value_head.weight": torch.ones(3)}, "value_head: 1 unexpected"),
        ({"feature_fusion.weight": torch.ones(96, 401)}, "401 inputs"),
        ({"actions.mlp.8.weight": torch.ones(3, 32), "actions.mlp.8.bias": torch.ones(3)}, "3 outputs"),
    ],
    ids=["wrong shape", "unexpected", "fusion width", "three outputs"],
)
def test_a_file_that_would_not_load_is_described_with_the_reason(
    state: State, save: Save, change: State, reason: str
) -> None:
    path = save(state | change)
    found = build_report(path, {})
    assert reason in found["problem"]
    assert sum(row["tensors"] for row in found["components"]) == len(state | change)
    with pytest.raises(Exception, match=reason):
        load_policy(path)


def test_another_model_is_described_too(save: Save) -> None:
    found = build_report(save(torch.nn.Linear(3, 4).state_dict()), {})
    assert "another model" in found["problem"]
    assert {row["name"]: row["parameters"] for row in found["components"]} == {"weight": 12, "bias": 4}


@pytest.mark.parametrize(
    "settings",
    [{"kosmos": {"text_config": {"attention_heads": 3}}}, {"rnn_num_layers": 0}, {"nonsense": 1}],
    ids=str,
)
def test_settings_that_make_no_model_are_the_problem_and_not_a_crash(tiny: Path, settings: dict[str, Any]) -> None:
    assert build_report(tiny, settings)["problem"]


def test_no_weight_is_read(tiny: Path, tmp_path: Path) -> None:
    """Every tensor's bytes are overwritten with NaN: loading must fail, and describing must not notice."""
    path = tmp_path / tiny.name
    data = bytearray(tiny.read_bytes())
    with zipfile.ZipFile(tiny) as archive:
        for info in archive.infolist():
            if "/data/" in info.filename:
                name, extra = data[info.header_offset + 26], data[info.header_offset + 28]
                start = info.header_offset + 30 + name + extra
                data[start : start + info.file_size] = b"\xff" * info.file_size
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="NaN"):
        load_policy(path, processors=f"{tiny}.processors")
    assert _text(build_report(path, {})) == _text(build_report(tiny, {}))


def _text(found: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in found.items() if name != "file"})
